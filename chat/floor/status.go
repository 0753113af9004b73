package floor

import "time"

// MayPublish says whether a grant is the session's, and holds. Whoever appends asks it for each record that
// needs the floor, between the decisions that have been committed (C5).
func (f *Floor) MayPublish(session Session, grant uint64) bool { return f.s.mayPublish(session, grant) }

func (s *state) mayPublish(session Session, grant uint64) bool {
	return s.holder != nil && s.holder.session == session && session != (Session{}) && s.held == grant
}

// Held returns who holds the floor, with which grant; "" is nobody.
func (f *Floor) Held() (who string, grant uint64) { return f.s.holding() }

// Waiting returns how many requests wait for it.
func (f *Floor) Waiting() int { return f.s.waiting() }

// A Status is a floor as it is, for RFC 8855's FloorStatus.
type Status struct {
	Holder  *RequestStatus  // nil: nobody
	Queue   []RequestStatus // accepted, the next first
	Pending []RequestStatus // the oldest first
	Grant   uint64          // number of the newest grant, whether it holds or not
	Chaired bool            // requests wait for a chair
}

// A RequestStatus is a request as it is, for RFC 8855's FloorRequestStatus.
type RequestStatus struct {
	Request  uint64
	State    State // Pending, Accepted or Granted
	Who      string
	By       string // who has asked for them; "" if they have
	Priority Priority
	Text     string
	Place    int       // Accepted
	Grant    uint64    // Granted
	Until    time.Time // Granted: when it ends, as things are; the zero Time is never
	Lost     bool      // its session is not there, and may come back
}

// Status returns the floor as it is.
func (f *Floor) Status(now time.Time) Status {
	st := Status{Grant: f.s.grant, Chaired: f.Chaired(now)}
	f.s.all(func(r *request, is State) bool {
		s := f.status(r, is)
		switch is {
		case Granted:
			st.Holder = &s
		case Accepted:
			s.Place = len(st.Queue) + 1
			st.Queue = append(st.Queue, s)
		default:
			st.Pending = append(st.Pending, s)
		}
		return true
	})
	return st
}

// Request returns a request that is not terminal.
func (f *Floor) Request(id uint64) (RequestStatus, bool) {
	r, is, at := f.s.find(id)
	if r == nil {
		return RequestStatus{}, false
	}
	s := f.status(r, is)
	if is == Accepted {
		s.Place = at + 1
	}
	return s, true
}

// RequestOf returns the request of a session.
func (f *Floor) RequestOf(session Session) (RequestStatus, bool) {
	var id uint64
	f.s.all(func(r *request, _ State) bool {
		if session != (Session{}) && (r.session == session || r.away.wants == session) {
			id = r.id
		}
		return id == 0
	})
	return f.Request(id)
}

func (f *Floor) status(r *request, is State) RequestStatus {
	s := RequestStatus{Request: r.id, State: is, Who: r.who, By: r.by, Priority: r.priority, Text: r.text, Lost: r.isLost()}
	if is == Granted {
		s.Grant = f.s.held
		s.Until = earliest(f.end(r), earliest(f.lease(), f.settings.longest(f.s.granted))).Time
	}
	return s
}
