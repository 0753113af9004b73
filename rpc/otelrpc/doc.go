// Package otelrpc traces and measures calls with OpenTelemetry: [New] returns an interceptor for [rpc.Config] and for
// [rpc.ClientConfig]. It needs OpenTelemetry's API alone; what becomes of spans and metrics is the program's choice of an SDK.
//
// # Traces
//
// Every call has a span of kind client where it is made and one of kind server where it is served, from its begin to
// its end, also of a stream. The span is in the context of the handler, so that calls which that makes with it belong to
// the same trace. It crosses the wire in the metadata of the request, as the propagator says: W3C Trace Context is the
// key "traceparent". A serving side believes what its peers say of the trace; who does not trust them for that sets
// a propagator that extracts nothing.
//
// Names and attributes are those of the semantic conventions for RPC, in the version of [SchemaURL]. Where they leave it to the
// system: rpc.system.name is "trunkline", rpc.response.status_code is the name of the [rpc.Code], and a code is an error at
// the caller whatever it is, and at the server if it is none that the caller may cause. Spans at the caller that end in an
// error have "trunkline.rpc.execution", which says whether the call has run.
//
// # Metrics
//
// Of the conventions rpc.client.call.duration and rpc.server.call.duration, histograms in seconds; and of their versions
// up to 1.37 rpc.client.request.size, rpc.client.response.size and the same two for the server, histograms of bytes,
// of every message as its codec encodes it.
package otelrpc
