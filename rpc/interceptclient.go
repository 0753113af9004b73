package rpc

import (
	"context"

	"github.com/trunkline-go/trunkline/transport"
)

func (c *clientCall) intercepted() bool { return c.client != nil && len(c.client.cfg.Interceptors) > 0 }

// describe returns the call for its interceptors.
func (c *clientCall) describe(kind Kind) *Call {
	call := &Call{Method: c.method, Kind: kind, Codec: c.opts.format.name, Caller: true, Metadata: c.opts.metadata}
	if s, ok := c.conn.(*transport.Session); ok {
		call.Peer = s.Peer()
	}
	return call
}

// enter takes over what the interceptors have made of the call.
func (c *clientCall) enter(ctx context.Context, call *Call) *Error {
	c.ctx, c.opts.metadata = ctx, call.Metadata
	return c.check()
}

// intercept runs the interceptors around do, which is the whole of a call that gives one response.
func (c *clientCall) intercept(kind Kind, do func() error) error {
	c.call = c.describe(kind)
	ch := &chain{interceptors: c.client.cfg.Interceptors, call: c.call}
	ch.inner = func(ctx context.Context) error {
		if err := c.enter(ctx, c.call); err != nil {
			return err
		}
		err := do()
		if c.str != nil {
			ch.call.Peer = c.str.Session().Peer()
		}
		ch.call.Header, ch.call.Trailer = c.header, c.trailer
		return err
	}
	err := ch.run(c.ctx)
	switch {
	case err != nil:
		return ch.result(err)
	case !ch.called || ch.status != nil:
		return ch.silent()
	}
	return nil
}
