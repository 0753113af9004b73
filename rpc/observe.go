package rpc

import "time"

// CallStats says how a call of a peer's went, for [Config.Observe].
type CallStats struct {
	// Method is the name of a method that mux handles. It is empty if the call did not come so far as to name
	// one: what a peer makes up must not grow into a metric's labels.
	Method string

	// Code is what the caller was told; of one that could not be told, because it was gone or its time was
	// up, Canceled or DeadlineExceeded.
	Code Code

	// Execution is Ran or NotStarted.
	Execution Execution

	// Duration is from the call's stream until the answer was handed to QUIC.
	Duration time.Duration

	// Received and Sent are bytes of the messages, as the codec encodes them.
	Received, Sent int64
}

// observe tells [Config.Observe] of a call that has ended with code.
func (c *serverCall) observe(code Code) {
	if c.mux.cfg.Observe == nil {
		return
	}
	st := CallStats{
		Method:    c.name(),
		Code:      code,
		Execution: NotStarted,
		Duration:  time.Since(c.began),
		Received:  c.in.Load(),
		Sent:      c.sent.Load(),
	}
	if c.dispatched {
		st.Execution = Ran
	}
	c.mux.cfg.Observe(st)
}
