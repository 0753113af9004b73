package rpc_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
)

func TestAMuxDescribesItsMethods(t *testing.T) {
	mux := newEcho(rpc.Config{}).mux
	text, wrapped := reflect.TypeFor[Text](), reflect.TypeFor[wrapperspb.StringValue]()
	for _, want := range []rpc.MethodInfo{
		{Name: say.Name(), Kind: rpc.KindUnary, Codecs: []string{"json"}, Request: text, Response: text},
		{Name: wrap.Name(), Kind: rpc.KindUnary, Codecs: []string{"proto", "json"}, Request: wrapped, Response: wrapped},
		{Name: octets.Name(), Kind: rpc.KindUnary, Codecs: []string{"raw", "proto", "json"}, Request: reflect.TypeFor[rpc.Raw](), Response: reflect.TypeFor[rpc.Raw]()},
		{Name: count.Name(), Kind: rpc.KindServerStream, Codecs: []string{"json"}, Request: text, Response: text},
		{Name: sum.Name(), Kind: rpc.KindClientStream, Codecs: []string{"json"}, Request: text, Response: text},
		{Name: chat.Name(), Kind: rpc.KindBidi, Codecs: []string{"json"}, Request: text, Response: text},
	} {
		got, ok := mux.Method(want.Name)
		assert.True(t, ok, want.Name)
		assert.Equal(t, want, got)
	}
	_, ok := mux.Method("test.Echo/Absent")
	assert.False(t, ok)
}

func TestKindsHaveTheirNames(t *testing.T) {
	for k, want := range map[rpc.Kind]string{
		0: "kind 0", rpc.KindUnary: "unary", rpc.KindServerStream: "server_stream",
		rpc.KindClientStream: "client_stream", rpc.KindBidi: "bidi", 5: "kind 5",
	} {
		assert.Equal(t, want, k.String())
	}
}

func TestAMuxDescribesItsOwnCodecsLast(t *testing.T) {
	mux := newEcho(rpc.Config{Codecs: []rpc.Codec{renamed{name: "proto"}, gobs{}}}).mux
	for method, want := range map[string][]string{say.Name(): {"json", "proto", "gob"}, wrap.Name(): {"proto", "json", "gob"}} {
		info, ok := mux.Method(method)
		assert.True(t, ok)
		assert.Equal(t, want, info.Codecs)
	}
}
