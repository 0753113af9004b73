// Package health says whether a server's services serve, once or as it changes, with the semantics of gRPC's health
// checking protocol (grpc.health.v1). [Register] serves two methods on an rpc.Mux, whose messages are JSON: [Check] and
// [Watch].
//
// A session that drains, because its server goes, is told NotServing without anybody's doing.
package health
