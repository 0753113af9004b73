package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
)

const callHelp = `examples:
  trunkline call trunkline.Echo/Say '{"text":"hi"}'
  trunkline call trunkline.Session/WhoAmI
  echo '{"text":"a"} {"text":"b"}' | trunkline call trunkline.Echo/Chat -

The request is JSON; without one it is {}. With "-" the requests are read from
stdin, one JSON value each: a streaming method takes any number. Each reply is
printed as one line of JSON. When the call is answered with an error status, its
code is printed on stderr and the exit code is 6.
`

// releaseTimeout bounds the release at the end of a command.
const releaseTimeout = 10 * time.Second

// call calls one method and prints what it answers.
func (a *app) call(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	client := a.clientFlags(fs)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return err
	}
	if len(rest) < 1 || len(rest) > 2 {
		return withHint(usagef("call takes a method and at most one request"), "trunkline help call")
	}
	method := rest[0]
	if err := rpc.ValidMethod(method); err != nil {
		return usagef("%s", err)
	}
	var requests io.Reader = strings.NewReader("{}")
	if len(rest) == 2 {
		requests = strings.NewReader(rest[1])
		if rest[1] == "-" {
			requests = a.stdin
		} else if !json.Valid([]byte(rest[1])) {
			return usagef("the request is not valid JSON: %s", jsonFault(rest[1]))
		}
	}

	ctx, stop := a.interruptible(ctx)
	defer stop()
	session, err := a.dial(ctx, client, false)
	if err != nil {
		return err
	}
	if err := a.exchange(ctx, session, method, requests); err != nil {
		// What the session has to say matters less than what the call had.
		_ = release(ctx, session)
		return err
	}
	return release(ctx, session)
}

// releaser is what release needs of a session.
type releaser interface {
	Release(ctx context.Context) error
}

// release ends a session in order, within releaseTimeout.
func release(ctx context.Context, session releaser) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	return session.Release(ctx)
}

// exchange sends all requests and prints all replies.
func (a *app) exchange(ctx context.Context, conn rpc.Conn, method string, requests io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := rpc.Bidi[rpc.Raw, rpc.Raw](method).Call(ctx, conn, rpc.WithCodec("json"))
	if err != nil {
		return err
	}
	defer stream.Close()
	go func() { // it may be left behind in a read of stdin, which can't be ended
		if err := sendAll(stream, requests); err != nil {
			cancel(err)
		}
	}()
	for reply, err := range stream.All() {
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, *reply); err != nil {
			return fmt.Errorf("the reply is not JSON: %w", err)
		}
		line.WriteByte('\n')
		if err := a.print(line.String()); err != nil {
			return err
		}
	}
	return nil
}

// sendAll sends each JSON value of r as one message. A fault of the input is an error; that the
// call is over is none, for its answer tells.
func sendAll(stream *rpc.Stream[rpc.Raw, rpc.Raw], r io.Reader) error {
	dec := json.NewDecoder(r)
	for {
		var request json.RawMessage
		err := dec.Decode(&request)
		if errors.Is(err, io.EOF) {
			_ = stream.CloseSend()
			return nil
		}
		if err != nil {
			return usagef("the request is not valid JSON: %s", err)
		}
		raw := rpc.Raw(request)
		if stream.Send(&raw) != nil {
			return nil //nolint:nilerr // the answer tells
		}
	}
}

// jsonFault says what is wrong with text that is not JSON.
func jsonFault(text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return err.Error()
	}
	return "unknown"
}
