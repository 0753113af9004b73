package rpc

import (
	"context"
	"reflect"
	"slices"

	"github.com/trunkline-go/trunkline/transport"
)

// ClientConfig configures a [Client]. The zero value works: with it calls differ from those
// without a Client only in that Retry's defaults hold.
type ClientConfig struct {
	// Interceptors surround each call, the first of them the others. Default: none.
	Interceptors []Interceptor

	// Options are the defaults of every call. Those of a call are applied after them, and so win; of metadata
	// both are sent.
	Options []CallOption

	// Retry says which calls are made again by themselves.
	Retry Retry
}

// A Client is a [Conn] with what all calls over it have in common: whatever calls over a session calls over a Client in
// its place. It is safe for concurrent use.
type Client struct {
	conn  Conn
	cfg   ClientConfig
	retry *retrier
}

// NewClient returns a Client whose calls go over conn. If that is a Client, its calls have what belongs to both, and
// the new one is around the other; of Retry the new one's holds if that is not
// the zero value, and else they share the other's and its budget.
func NewClient(conn Conn, cfg ClientConfig) *Client {
	cfg.Interceptors, cfg.Options = slices.Clone(cfg.Interceptors), slices.Clone(cfg.Options)
	var retry *retrier
	if inner, ok := conn.(*Client); ok {
		conn = inner.conn
		cfg.Interceptors = slices.Concat(cfg.Interceptors, inner.cfg.Interceptors)
		cfg.Options = slices.Concat(inner.cfg.Options, cfg.Options)
		if reflect.ValueOf(cfg.Retry).IsZero() {
			retry = inner.retry
		}
	}
	if retry == nil {
		retry = newRetrier(cfg.Retry)
	}
	return &Client{conn: conn, cfg: cfg, retry: retry}
}

// OpenStream implements [Conn].
func (c *Client) OpenStream(ctx context.Context, t transport.StreamType) (*transport.Stream, error) {
	return c.conn.OpenStream(ctx, t)
}
