package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlogwriter"
	"github.com/quic-go/quic-go/qlogwriter/jsontext"

	"github.com/trunkline-go/trunkline/certs"
)

// Qlog (draft-ietf-quic-qlog-main-schema) is what a connection did, packet by packet: when, which frames, what was
// lost, how the windows went. It has no contents, but says who talked to whom and how much, so its files are their
// owner's alone. A file that cannot be made or written never harms the connection: the trace ends, and the
// log says so, once for each server and client session.

// A qlogDir makes the traces of connections.
type qlogDir struct {
	path   string
	log    *slog.Logger
	failed atomic.Bool // which has been logged
}

// trace is for quic.Config.Tracer. connID is random, and of the client's choosing, 8 to 20 bytes.
func (d *qlogDir) trace(_ context.Context, client bool, connID quic.ConnectionID) qlogwriter.Trace {
	side := "server"
	if client {
		side = "client"
	}
	f, err := d.create(connID.String() + "_" + side + ".sqlog")
	if err != nil {
		d.fail(err)
		return nil
	}
	t := qlogwriter.NewConnectionFileSeq(f, client, connID)
	go t.Run() // ends with the connection, which waits for it
	return t
}

func (d *qlogDir) create(name string) (*qlogFile, error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return newQlogFile(f, d.fail), nil
}

// fail logs the first failure.
func (d *qlogDir) fail(err error) {
	if !errors.Is(err, fs.ErrExist) && d.failed.CompareAndSwap(false, true) { // a client may choose an id twice
		d.log.Warn("qlog cannot be written", "err", err)
	}
}

// A qlogFile is a file that seems never to fail: quic-go would print that on stderr. What follows a failure is
// thrown away.
type qlogFile struct {
	file   io.WriteCloser
	buf    *bufio.Writer // quic-go writes token by token
	fail   func(error)
	broken bool
}

func newQlogFile(file io.WriteCloser, fail func(error)) *qlogFile {
	return &qlogFile{file: file, buf: bufio.NewWriterSize(file, 16<<10), fail: fail}
}

// Write implements io.Writer.
func (f *qlogFile) Write(p []byte) (int, error) {
	if !f.broken {
		_, err := f.buf.Write(p)
		f.check(err)
	}
	return len(p), nil
}

// Close implements io.Closer.
func (f *qlogFile) Close() error {
	if !f.broken {
		f.check(f.buf.Flush())
	}
	if err := f.file.Close(); !f.broken {
		f.check(err)
	}
	return nil
}

func (f *qlogFile) check(err error) {
	if err != nil {
		f.broken = true
		f.fail(err)
	}
}

// A sessionEvent says, in the trace of a connection, which session it carries: what else ties a trace to the log
// is an address.
type sessionEvent struct {
	id       SessionID
	identity certs.ID
	attempt  uint64
}

// Name implements [qlogwriter.Event].
func (e sessionEvent) Name() string { return "trunkline:session" }

// Encode implements [qlogwriter.Event].
func (e sessionEvent) Encode(enc *jsontext.Encoder, _ time.Time) error {
	var errs []error
	for _, token := range []jsontext.Token{
		jsontext.BeginObject,
		jsontext.String("session"), jsontext.String(e.id.String()),
		jsontext.String("identity"), jsontext.String(e.identity.String()),
		jsontext.String("attempt"), jsontext.Uint(e.attempt),
		jsontext.EndObject,
	} {
		errs = append(errs, enc.WriteToken(token))
	}
	return errors.Join(errs...)
}

// traceSession puts a sessionEvent into the trace, if there is one.
func (l *link) traceSession() {
	trace := l.conn.QlogTrace()
	if trace == nil {
		return
	}
	if r := trace.AddProducer(); r != nil { // else the connection has ended
		r.RecordEvent(sessionEvent{id: l.sess.id, identity: l.who, attempt: l.attempt})
		_ = r.Close() // never fails
	}
}
