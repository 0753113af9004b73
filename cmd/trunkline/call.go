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
	"github.com/trunkline-go/trunkline/rpc/reflection"
	"github.com/trunkline-go/trunkline/transport"
)

const callHelp = `examples:
  trunkline call trunkline.Echo/Say '{"text":"hi"}'
  trunkline call trunkline.Session/WhoAmI
  echo '{"text":"a"} {"text":"b"}' | trunkline call trunkline.Echo/Chat -
  trunkline call trunkline.Health/Watch --timeout 1m        until then, or Ctrl-C
  trunkline call trunkline.Echo/Say -v -H user:ann -H trace-bin:AQID

"trunkline methods" lists what there is, and describes it. The request is JSON;
without one it is {}. With "-" the requests are read from stdin, one JSON value
each: a streaming method takes any number, and each goes out when it is read.

Each reply is printed as one line of JSON. When the call fails, its code and
message, the details and whether it has run are printed on stderr; answered with an
error status, or out of time, the exit code is 6. A stream that takes
long says on stderr how far it is, if that is a terminal and stdout is none.

A header is text, or base64 if its key ends in "-bin"; likewise where -v shows one.
`

// callFlags are how a call is made.
type callFlags struct {
	headers *[]string
	timeout *time.Duration
	maxTime *time.Duration
	verbose *bool

	compress *string // a name; none: ""
}

// options returns what the flags say of the call itself.
func (f *callFlags) options() ([]rpc.CallOption, error) {
	if *f.timeout < 0 || *f.maxTime < 0 {
		return nil, usagef("--timeout and --max-time are not negative")
	}
	var md rpc.Metadata
	for _, text := range *f.headers {
		field, err := parseHeader(text)
		if err != nil {
			return nil, usagef("%s", err)
		}
		md = append(md, field)
	}
	options := []rpc.CallOption{rpc.WithCodec("json"), rpc.WithMetadata(md)}
	if *f.compress != "" {
		c, err := compressorNamed(*f.compress)
		if err != nil {
			return nil, err
		}
		options = append(options, rpc.WithCompression(c))
	}
	return options, nil
}

// call calls one method and prints what it answers.
func (a *app) call(ctx context.Context, c *command, args []string) error {
	fs := flagSet(c)
	flags := callFlags{
		headers: fs.StringArrayP("header", "H", nil, "`KEY:VALUE` to send with the request; may come more than once"),
		timeout: fs.Duration("timeout", 0, "how long the call may take; the server is told (default as long as it takes)"),
		maxTime: fs.Duration("max-time", 0, "how long all of it may take, connecting too (default as long as it takes)"),
		verbose: fs.BoolP("verbose", "v", false, "show the header and the trailer of the reply, on stderr"),

		compress: fs.String("compress", "", "compress long messages, both ways, with `NAME`: zstd or gzip (default not at all)"),
	}
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
	options, err := flags.options()
	if err != nil {
		return err
	}
	requests, fromStdin := io.Reader(strings.NewReader("{}")), false
	if len(rest) == 2 {
		requests, fromStdin = strings.NewReader(rest[1]), rest[1] == "-"
		if fromStdin {
			requests = a.stdin
		} else if !json.Valid([]byte(rest[1])) {
			return usagef("the request is not valid JSON: %s", jsonFault(rest[1]))
		}
	}

	ctx, stop := a.interruptible(ctx)
	defer stop()
	if *flags.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *flags.maxTime)
		defer cancel()
	}
	session, err := a.dial(ctx, client, false)
	if errors.Is(err, context.DeadlineExceeded) {
		return &transport.Error{Code: transport.Lost, Reason: fmt.Sprintf("no session within %v", *flags.maxTime), Err: err}
	}
	if err != nil {
		return err
	}
	err = a.callOn(ctx, session, method, requests, fromStdin, &flags, options)
	if err != nil {
		// What the session has to say matters less than what the call had.
		_ = release(ctx, session)
		return err
	}
	return release(ctx, session)
}

// callOn calls a method over a session.
func (a *app) callOn(ctx context.Context, conn rpc.Conn, method string, requests io.Reader, fromStdin bool, flags *callFlags, options []rpc.CallOption) error {
	if fromStdin {
		one, err := takesOne(ctx, conn, method)
		if err == nil && one && !isTerminal(requests) {
			requests, err = single(requests, method)
		}
		if err != nil {
			return err
		}
	}
	p := a.startProgress()
	defer p.stop()
	x := &exchange{out: a.print, progress: p}
	if *flags.verbose {
		x.notes = p
	}
	callCtx := ctx
	if *flags.timeout > 0 {
		var cancel context.CancelFunc
		callCtx, cancel = context.WithTimeout(ctx, *flags.timeout)
		defer cancel()
	}
	err := x.run(callCtx, conn, method, requests, options)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause // interrupted
	}
	e, ok := errors.AsType[*rpc.Error](err)
	if !ok {
		return err
	}
	err = &callError{e}
	if e.Code() == rpc.Unimplemented && e.Remote {
		return suggesting(ctx, conn, method, err)
	}
	return err
}

// takesOne says whether a method takes one request. It says no if the server does not tell.
func takesOne(ctx context.Context, conn rpc.Conn, method string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	d, err := reflection.Describe.Call(ctx, conn, &reflection.DescribeRequest{Method: method})
	switch rpc.CodeOf(err) {
	case rpc.OK:
		return d.Kind == rpc.KindUnary.String() || d.Kind == rpc.KindServerStream.String(), nil
	case rpc.Unavailable, rpc.Canceled, rpc.DeadlineExceeded:
		return false, err // so the call would fail, too
	default:
		return false, nil
	}
}

// single reads the one request that a method takes, up to the end of r, so that a second one is refused before the
// first has been sent.
func single(r io.Reader, method string) (io.Reader, error) {
	dec := json.NewDecoder(r)
	var request, more json.RawMessage
	err := dec.Decode(&request)
	if errors.Is(err, io.EOF) {
		return nil, usagef("%s takes one request, and there is none", method)
	}
	if err == nil {
		err = dec.Decode(&more)
		if err == nil {
			return nil, usagef("%s takes one request, and there are more", method)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, usagef("the request is not valid JSON: %s", err)
	}
	return bytes.NewReader(request), nil
}

// An exchange is a call whose messages are JSON.
type exchange struct {
	out      func(line string) error
	notes    io.Writer // gets header and trailer; nil: they are not shown
	progress *progress
}

// run sends all requests and prints all replies.
func (x *exchange) run(ctx context.Context, conn rpc.Conn, method string, requests io.Reader, options []rpc.CallOption) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := rpc.Bidi[rpc.Raw, rpc.Raw](method).Call(ctx, conn, options...)
	if err != nil {
		return err
	}
	defer stream.Close()
	go func() { // it may be left behind in a read of stdin, which can't be ended
		if err := x.sendAll(stream, requests); err != nil {
			cancel(err)
		}
	}()
	err = x.receiveAll(stream)
	if fault, ok := errors.AsType[*usageError](context.Cause(ctx)); ok && err != nil {
		return fault
	}
	return err
}

// receiveAll prints each reply as a line.
func (x *exchange) receiveAll(stream *rpc.Stream[rpc.Raw, rpc.Raw]) error {
	if x.notes != nil {
		if md, err := stream.Header(); err == nil { // Recv has the error, too
			printMetadata(x.notes, "header", md)
		}
		defer func() { printMetadata(x.notes, "trailer", stream.Trailer()) }()
	}
	for reply, err := range stream.All() {
		if err != nil {
			return err
		}
		x.progress.received.Add(1)
		x.progress.receivedBytes.Add(int64(len(*reply)))
		line, err := compact(*reply)
		if err != nil {
			return fmt.Errorf("the reply is not JSON: %w", err)
		}
		if err := x.out(escaped(string(line)) + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// sendAll sends each JSON value of r as one message. A fault of the input is a usageError; that the
// call is over is none, for its answer tells.
func (x *exchange) sendAll(stream *rpc.Stream[rpc.Raw, rpc.Raw], r io.Reader) error {
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
		x.progress.sent.Add(1)
		x.progress.sentBytes.Add(int64(len(raw)))
	}
}

// compact returns JSON without the spaces between its values.
func compact(text []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, text)
	return b.Bytes(), err
}

// jsonFault says what is wrong with text that is not JSON.
func jsonFault(text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return err.Error()
	}
	return "unknown"
}

// releaseTimeout bounds the release at the end of a command.
const releaseTimeout = 10 * time.Second

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
