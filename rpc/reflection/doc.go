// Package reflection tells peers which methods an [rpc.Mux] has, and what their messages are, so that
// they can be called without their descriptors: "trunkline methods" and "trunkline call" do.
//
// [Register] serves two methods on a mux, whose own messages are JSON: [List], the names and kinds of what there is, and
// [Describe], one method with JSON Schemas of its messages, and for protobuf ones the descriptors too.
//
// # Schemas
//
// A schema is in JSON Schema's dialect 2020-12 and describes a message in the codec "json", as package rpc encodes it: by
// encoding/json for plain Go types, by protojson for protobuf messages. It is of one direction. That of a
// request has no field that would be refused as unknown, and requires none, as Go does not. Every response fits its schema,
// which requires the fields that are always there, and allows those that a newer peer has added.
//
// What encodes itself is described by its form alone: a TextMarshaler is a string, a time.Time a date-time, and a
// json.Marshaler anything. So is [rpc.Raw], which need not be JSON at all.
package reflection
