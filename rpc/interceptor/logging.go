package interceptor

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
)

// LoggingConfig configures [Logging]. The zero value works, and logs nothing.
type LoggingConfig struct {
	// Logger gets one line for each call, at its end, with the context of the call. Default: discarded.
	Logger *slog.Logger

	// Level says how much a line matters. Default: Info for success and for what a caller may cause (Canceled, NotFound,
	// InvalidArgument and so on), Error for what is a bug or a loss (Internal, Unknown, DataLoss), Warn for the rest.
	Level func(c *rpc.Call, code rpc.Code) slog.Level
}

// Logging says of each call, when it has ended, which it was, with whom, how it ended, how long it took, and how many
// messages of how many bytes there were. It never logs what is in them, or the metadata. It is for either side.
func Logging(cfg LoggingConfig) rpc.Interceptor {
	log, level := cfg.Logger, cfg.Level
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if level == nil {
		level = levelOf
	}
	return func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
		l := &logged{began: time.Now()}
		c.OnSend(l.sent.add)
		c.OnReceive(l.received.add)
		returned := false
		defer func() {
			if !returned { // an interceptor within has panicked
				l.log(ctx, log, level, c, rpc.Errorf(rpc.Internal, "panicked"))
			}
		}()
		err := next(ctx)
		returned = true
		l.log(ctx, log, level, c, err)
		return err
	}
}

// logged is what is known of a call.
type logged struct {
	began          time.Time
	sent, received tally
}

type tally struct{ messages, bytes atomic.Int64 }

func (t *tally) add(_ any, size int) error {
	t.messages.Add(1)
	t.bytes.Add(int64(size))
	return nil
}

func (l *logged) log(ctx context.Context, log *slog.Logger, level func(*rpc.Call, rpc.Code) slog.Level, c *rpc.Call, err error) {
	code := rpc.CodeOf(err)
	at := level(c, code)
	if !log.Enabled(ctx, at) {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs,
		slog.String("method", c.Method),
		slog.String("kind", c.Kind.String()),
		slog.Any("peer", c.Peer.ID),
		slog.String("code", code.String()),
		slog.Duration("took", time.Since(l.began)),
		slog.Int64("sent", l.sent.messages.Load()),
		slog.Int64("sent_bytes", l.sent.bytes.Load()),
		slog.Int64("received", l.received.messages.Load()),
		slog.Int64("received_bytes", l.received.bytes.Load()),
	)
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	what := "call served"
	if c.Caller {
		what = "call made"
	}
	log.LogAttrs(ctx, at, what, attrs...) //nolint:sloglint // one of the two constants above
}

// levelOf is the default of [LoggingConfig.Level].
func levelOf(_ *rpc.Call, code rpc.Code) slog.Level {
	switch code {
	case rpc.OK, rpc.Canceled, rpc.InvalidArgument, rpc.NotFound, rpc.AlreadyExists, rpc.Unauthenticated, rpc.OutOfRange,
		rpc.FailedPrecondition, rpc.Aborted:
		return slog.LevelInfo
	case rpc.Unknown, rpc.Internal, rpc.DataLoss:
		return slog.LevelError
	case rpc.DeadlineExceeded, rpc.PermissionDenied, rpc.ResourceExhausted, rpc.Unimplemented, rpc.Unavailable:
	}
	return slog.LevelWarn
}
