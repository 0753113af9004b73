package transport

import (
	"errors"
	"maps"
	"slices"
)

// Recheck asks check about the peer of every session: live, detached, and not yet welcomed. Those for
// which it returns an error are aborted, with the code and the reason that the same error has in
// [Config.Authorize].
//
// Together the two leave no gap: a session is registered before Authorize is asked. So if what Authorize
// says changes first, and Recheck is called then, nobody whom both refuse has a session when it
// returns. check must not block.
func (srv *Server) Recheck(check func(Peer) error) {
	srv.mu.Lock()
	sessions := slices.Collect(maps.Values(srv.sessions))
	srv.mu.Unlock()
	for _, s := range sessions {
		if err := check(s.Peer()); err != nil {
			e := refusal(err)
			s.Abort(e.Code, e.Reason)
		}
	}
}

// refusal returns with what a session is refused for which the configuration has err.
func refusal(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.unsaid()
	}
	return &Error{Code: Unauthorized, Reason: "may not open a session", Err: err}
}
