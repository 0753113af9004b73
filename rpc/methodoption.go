package rpc

// A MethodOption says something of a method that its name and its messages do not. It is part of the descriptor, and so
// known to both sides.
type MethodOption interface{ applyTo(m *method) }
