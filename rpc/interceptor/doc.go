// Package interceptor has interceptors for [rpc.Config] and [rpc.ClientConfig] that most programs want: [Logging] and
// [RateLimit].
//
// Put what watches before what refuses, so that refusals are seen:
//
//	rpc.Config{Interceptors: []rpc.Interceptor{interceptor.Logging(logging), interceptor.RateLimit(limit)}}
//
// What decides who may call what is no interceptor but [rpc.Config]'s Authorize, and what sees to panics its Recover: a Mux
// recovers by itself. Traces and metrics are in package otelrpc.
package interceptor
