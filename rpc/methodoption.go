package rpc

// A MethodOption says something of a method that its name and its messages do not. It is part of the descriptor, and so
// known to both sides.
type MethodOption interface{ applyTo(m *method) }

// Idempotent says of a method that a call of it may run more than once, in whole or part, as if it had run once (RFC 9110,
// section 9.2.2). A call over a [Client] is then made again when it may have run, see [Retry], and may be hedged,
// see [WithHedging].
func Idempotent() MethodOption { return idempotent{} }

type idempotent struct{}

func (idempotent) applyTo(m *method) { m.idempotent = true }
