package reflection

import (
	"context"
	"encoding/json"

	"github.com/trunkline-go/trunkline/rpc"
)

// The methods that [Register] serves.
var (
	// List lists the methods that the caller may see, by name.
	List = rpc.Unary[ListRequest, ListResponse]("trunkline.Reflection/List", rpc.Idempotent())
	// Describe describes one method. One that there is not, or that the caller may not see, is NotFound.
	Describe = rpc.Unary[DescribeRequest, DescribeResponse]("trunkline.Reflection/Describe", rpc.Idempotent())
)

// A ListRequest asks for all methods.
type ListRequest struct{}

// A ListResponse has the methods, sorted by name.
type ListResponse struct {
	Methods []Method `json:"methods"`
}

// A Method is what can be said of a method in a line.
type Method struct {
	Name string `json:"name"` // package.Service/Method
	Kind string `json:"kind"` // unary, server_stream, client_stream or bidi: see rpc.Kind

	Idempotent bool `json:"idempotent,omitempty"` // to run a call of it again does no harm: see rpc.Idempotent
	Resumable  bool `json:"resumable,omitempty"`  // a call of it goes on after a reconnect: see rpc.Resumable
}

// A DescribeRequest asks for one method.
type DescribeRequest struct {
	Method string `json:"method"`
}

// A DescribeResponse is all about one method.
type DescribeResponse struct {
	Method
	Codecs   []string `json:"codecs"` // that the method takes; the first is the default
	Request  Message  `json:"request"`
	Response Message  `json:"response"`

	// Descriptors is a google.protobuf.FileDescriptorSet, with the files of the protobuf messages and, before
	// each, those that it imports. It is empty if neither is a protobuf message.
	Descriptors []byte `json:"descriptors,omitempty"`
}

// A Message describes the messages of one direction.
type Message struct {
	Proto  string          `json:"proto,omitempty"` // full name of a protobuf message
	Schema json.RawMessage `json:"schema"`          // JSON Schema 2020-12 of its JSON form
}

// Config configures a [Service]. The zero value works.
type Config struct {
	// Visible says whether the caller, who is in ctx, may see a method: usually whether it may call it. What it may not see
	// looks as if it were not there. Default: everyone sees everything.
	Visible func(ctx context.Context, method string) bool
}

// A Service describes the methods of a mux. Most programs use [Register]; its methods are for those that add
// something to each handler.
type Service struct {
	mux *rpc.Mux
	cfg Config
}

// New returns a Service that describes what mux has when it is asked.
func New(mux *rpc.Mux, cfg Config) *Service {
	if cfg.Visible == nil {
		cfg.Visible = func(context.Context, string) bool { return true }
	}
	return &Service{mux: mux, cfg: cfg}
}

// Register serves [List] and [Describe] on mux, which describe mux, themselves included.
func Register(mux *rpc.Mux, cfg Config) {
	s := New(mux, cfg)
	rpc.Handle(mux, List, s.List)
	rpc.Handle(mux, Describe, s.Describe)
}

// List is the handler of the method of that name.
func (s *Service) List(ctx context.Context, _ *ListRequest) (*ListResponse, error) {
	res := &ListResponse{Methods: []Method{}}
	for _, name := range s.mux.Methods() {
		if info, ok := s.mux.Method(name); ok && s.cfg.Visible(ctx, name) {
			res.Methods = append(res.Methods, methodOf(info))
		}
	}
	return res, nil
}

// Describe is the handler of the method of that name.
func (s *Service) Describe(ctx context.Context, req *DescribeRequest) (*DescribeResponse, error) {
	info, ok := s.mux.Method(req.Method)
	if !ok || !s.cfg.Visible(ctx, req.Method) {
		return nil, rpc.Errorf(rpc.NotFound, "no method %q", clip(req.Method))
	}
	request, err := describeMessage(info.Request, false)
	if err != nil {
		return nil, err
	}
	response, err := describeMessage(info.Response, true)
	if err != nil {
		return nil, err
	}
	descriptors, err := descriptorSet(info.Request, info.Response)
	if err != nil {
		return nil, err
	}
	return &DescribeResponse{
		Method:      methodOf(info),
		Codecs:      info.Codecs,
		Request:     request,
		Response:    response,
		Descriptors: descriptors,
	}, nil
}

func methodOf(info rpc.MethodInfo) Method {
	return Method{Name: info.Name, Kind: info.Kind.String(), Idempotent: info.Idempotent, Resumable: info.Resumable}
}

// clip keeps the texts of errors short.
func clip(s string) string { return s[:min(len(s), 255)] }
