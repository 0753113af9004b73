package health

import (
	"context"

	"github.com/trunkline-go/trunkline/rpc"
)

// Check is the handler of the method of that name.
func (s *Server) Check(ctx context.Context, req *Request) (*Response, error) {
	st := s.Status(req.Service)
	if st == ServiceUnknown {
		return nil, rpc.Errorf(rpc.NotFound, "unknown service %q", clip(req.Service))
	}
	select {
	case <-rpc.Draining(ctx):
		st = NotServing
	default:
	}
	return &Response{st}, nil
}

// Watch is the handler of the method of that name.
func (s *Server) Watch(ctx context.Context, req *Request, out *rpc.Sender[Response]) error {
	var told Status
	tell := func(st Status) error {
		if st == told {
			return nil
		}
		told = st
		return out.Send(&Response{st}) // waits for a reader that is slow, while the status goes on
	}
	for {
		st, changed := s.get(req.Service, true)
		if err := tell(st); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-rpc.Draining(ctx):
			if st, _ = s.get(req.Service, false); st != ServiceUnknown {
				st = NotServing
			}
			if err := tell(st); err != nil {
				return err
			}
			return rpc.Errorf(rpc.Unavailable, "the session comes to its end")
		}
	}
}

// clip keeps the texts of errors short.
func clip(s string) string { return s[:min(len(s), 255)] }
