package rpc

import (
	"fmt"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
)

// A Kind says how many messages a method takes and gives.
type Kind uint8

// The kinds, by what they take and give. The zero value is none of them.
const (
	KindUnary        Kind = 1 + iota // one request, one response
	KindServerStream                 // one request, a stream of responses
	KindClientStream                 // a stream of requests, one response
	KindBidi                         // a stream each way
)

// kindNames are the texts of the kinds, which programs on both sides rely on.
var kindNames = [...]string{KindUnary: "unary", KindServerStream: "server_stream", KindClientStream: "client_stream", KindBidi: "bidi"}

// String returns "unary", "server_stream", "client_stream" or "bidi".
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// answersOnce says whether the response is one message.
func (k Kind) answersOnce() bool { return k == KindUnary || k == KindClientStream }

// MethodInfo describes a method to programs that do not have its descriptor: package reflection tells it to peers.
type MethodInfo struct {
	Name     string
	Kind     Kind
	Codecs   []string     // that its messages can be encoded in; the first is what a caller uses who does not say
	Request  reflect.Type // of a message; not the pointer
	Response reflect.Type // the same

	Resumable  bool // see the option
	Idempotent bool // see the option
}

// answersOnce says whether a response is one message.
func (i *MethodInfo) answersOnce() bool { return i.Kind == KindUnary || i.Kind == KindClientStream }

func (m method) info(kind Kind, req, res any) MethodInfo {
	return MethodInfo{
		Name:     m.name,
		Kind:     kind,
		Codecs:   codecsOf(m.codec, req, res),
		Request:  reflect.TypeOf(req).Elem(),
		Response: reflect.TypeOf(res).Elem(),

		Resumable:  m.resumable,
		Idempotent: m.idempotent,
	}
}

// codecsOf returns the codecs that fit both messages, the default first.
func codecsOf(first string, req, res any) []string {
	codecs := []string{first}
	for _, codec := range []string{codecProto, codecJSON, codecRaw} {
		if codec != first && fits(codec, req) && fits(codec, res) {
			codecs = append(codecs, codec)
		}
	}
	return codecs
}

// fits says whether encode and decode take m with the codec.
func fits(codec string, m any) bool {
	switch m.(type) {
	case *Raw:
		return true
	case proto.Message:
		return codec == codecProto || codec == codecJSON
	}
	return codec == codecJSON
}

func (m UnaryMethod[Req, Res]) info() MethodInfo {
	return m.method.info(KindUnary, new(Req), new(Res))
}

func (m ServerStreamMethod[Req, Res]) info() MethodInfo {
	return m.method.info(KindServerStream, new(Req), new(Res))
}

func (m ClientStreamMethod[Req, Res]) info() MethodInfo {
	return m.method.info(KindClientStream, new(Req), new(Res))
}

func (m BidiMethod[Req, Res]) info() MethodInfo {
	return m.method.info(KindBidi, new(Req), new(Res))
}

// Method describes the method called name, and says whether it has a handler. The codecs of [Config.Codecs] come last,
// for they alone know what they fit.
func (m *Mux) Method(name string) (MethodInfo, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.methods[name]
	if s == nil {
		return MethodInfo{}, false
	}
	info := s.info
	info.Codecs = slices.Clone(info.Codecs)
	for _, f := range m.formats {
		if f.codec != nil && !slices.Contains(info.Codecs, f.name) {
			info.Codecs = append(info.Codecs, f.name)
		}
	}
	return info, true
}
