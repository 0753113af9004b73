package main

import (
	"encoding/base64"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	// Details of these types are shown as JSON.
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
)

// A callError is how a call failed that somebody asked for, of which all is told.
type callError struct{ err *rpc.Error }

func (e *callError) Error() string { return e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

// lines returns what is to be said beside code and message.
func (e *callError) lines() []string {
	var out []string
	for _, d := range e.err.Details {
		out = append(out, "detail: "+detailText(d))
	}
	return append(out, "execution: "+e.err.Execution.String())
}

// detailText returns a detail of an error as one line of JSON: protojson's form if the type is known here, else its URL and, in
// base64, its bytes.
func detailText(d *anypb.Any) string {
	text, err := protojson.Marshal(d)
	if err == nil {
		// protojson puts spaces here and there, on purpose.
		text, err = compact(text)
	}
	if err != nil {
		text, _ = json.Marshal(map[string]string{"@type": d.GetTypeUrl(), "value": base64.StdEncoding.EncodeToString(d.GetValue())})
	}
	return escaped(string(text))
}
