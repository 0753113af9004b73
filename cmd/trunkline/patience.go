package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// patience bounds for how long a command waits for a server that it has lost.
type patience struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wait   time.Duration
	cut    *transport.Error // how the connection ended; nil while there is one
	timer  *time.Timer
}

func newPatience(ctx context.Context, wait time.Duration) *patience {
	p := &patience{wait: wait}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// note follows the events that say whether there is a connection.
func (p *patience) note(e chat.Event) {
	switch e := e.(type) {
	case *chat.Detached:
		p.cut = e.Err
		p.timer = time.AfterFunc(p.wait, func() { p.cancel(errPatience) })
	case *chat.Resumed:
		p.cut = nil
		p.timer.Stop()
	}
}

func (p *patience) stop() {
	p.cancel(nil)
	if p.timer != nil {
		p.timer.Stop()
	}
}

var errPatience = errors.New("the server did not come back")

// explain says what err means when so many lines are unacknowledged.
func (p *patience) explain(err error, lines int) error {
	gaveUp := errors.Is(err, errPatience)
	interrupted := !gaveUp && p.ctx.Err() != nil && errors.Is(err, context.Cause(p.ctx))
	if !gaveUp && (!interrupted || lines == 0) {
		return err
	}
	reason := err.Error()
	if gaveUp {
		reason += fmt.Sprintf(" within %v", p.wait)
	}
	if lines > 0 {
		reason += ": " + unacknowledged(lines) + ", and may not have been sent"
	}
	if p.cut == nil { // it was told to end while it waited for nothing but the answers
		return errors.New(reason)
	}
	return &transport.Error{Code: transport.Lost, Reason: reason, Err: p.cut}
}
