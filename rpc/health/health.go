package health

import (
	"sync"

	"github.com/trunkline-go/trunkline/rpc"
)

// The methods that [Register] serves.
var (
	// Check says how a service does. One that the server has no status of is NotFound.
	Check = rpc.Unary[Request, Response]("trunkline.Health/Check", rpc.Idempotent())

	// Watch says how a service does, at once and whenever that has changed. One that the server has no status of is
	// ServiceUnknown until it has. A caller that is slow to read is told the latest status, and not all that were before it. It goes on
	// until the caller has enough; when the session drains or is released, it ends with Unavailable.
	Watch = rpc.ServerStream[Request, Response]("trunkline.Health/Watch")
)

// A Request asks for a service.
type Request struct {
	Service string `json:"service"` // "package.Service", or "" for the server as a whole
}

// A Response says how a service does.
type Response struct {
	Status Status `json:"status"`
}

// A Status is how a service does, by the names of gRPC's.
type Status string

// The statuses.
const (
	Unknown        Status = "UNKNOWN"         // the service itself does not know yet
	Serving        Status = "SERVING"         // it takes calls
	NotServing     Status = "NOT_SERVING"     // it takes none just now
	ServiceUnknown Status = "SERVICE_UNKNOWN" // the server has no status of it; Watch alone says so
)

// A Server has the statuses of services. The zero value has none; [NewServer] returns one that serves. It is safe for
// concurrent use.
type Server struct {
	mu       sync.Mutex // guards what follows
	statuses map[string]Status
	changed  chan struct{} // closed at the next change; nil if nobody waits for it
	down     bool
}

// NewServer returns a Server whose own status, that of "", is Serving.
func NewServer() *Server {
	s := new(Server)
	s.Set("", Serving)
	return s
}

// Register serves [Check] and [Watch] on mux.
func Register(mux *rpc.Mux, s *Server) {
	rpc.Handle(mux, Check, s.Check)
	rpc.Handle(mux, Watch, s.Watch)
}

// Set sets the status of a service; ServiceUnknown takes it away. After [Server.Shutdown] it is NotServing whatever
// was set, until [Server.Resume].
func (s *Server) Set(service string, st Status) {
	s.change(func() {
		if st == ServiceUnknown {
			delete(s.statuses, service)
			return
		}
		if s.statuses == nil {
			s.statuses = make(map[string]Status)
		}
		s.statuses[service] = st
	})
}

// Shutdown makes every service NotServing: a server that is about to drain says so in time, so that new work goes
// elsewhere.
func (s *Server) Shutdown() { s.change(func() { s.down = true }) }

// Resume takes Shutdown back: each service has the status that was last set.
func (s *Server) Resume() { s.change(func() { s.down = false }) }

// change changes s with f, and wakes who watches.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Status returns the status of a service, ServiceUnknown if it has none.
func (s *Server) Status(service string) Status {
	st, _ := s.get(service, false)
	return st
}

// get returns the status of a service, and with wait what is closed when it may have changed.
func (s *Server) get(service string, wait bool) (Status, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.statuses[service]
	switch {
	case !ok:
		st = ServiceUnknown
	case s.down:
		st = NotServing
	}
	if wait && s.changed == nil {
		s.changed = make(chan struct{})
	}
	return st, s.changed
}
