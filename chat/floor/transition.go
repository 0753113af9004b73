package floor

import "slices"

// A State is what a request is, with the number that it has in RFC 8855, section 5.2.5. Denied, Cancelled,
// Released and Revoked are terminal: the request is no more.
type State uint8

// The states. There is no zero value.
const (
	Pending   State = 1 // waits for a chair
	Accepted  State = 2 // has a place in the queue
	Granted   State = 3 // holds the floor
	Denied    State = 4 // by a chair, or for want of one
	Cancelled State = 5 // given up before it was granted
	Released  State = 6 // given back
	Revoked   State = 7 // taken back

	// Please is no state: somebody has asked the holder for the floor. RFC 8855 does not have it;
	// it is X.225's token please.
	Please State = 16

	// Missed and Here are no states, either: a server asks the others that share the log who has the session of a request,
	// and one that has it says so. They are for servers, and change nothing for anybody else.
	Missed State = 17
	Here   State = 18
)

var stateNames = [...]string{
	Pending: "pending", Accepted: "accepted", Granted: "granted", Denied: "denied",
	Cancelled: "cancelled", Released: "released", Revoked: "revoked", Please: "please", Missed: "missed", Here: "here",
}

// String returns the name, such as "granted".
func (s State) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return "unknown"
}

// Terminal says whether a request that is in this state is no more.
func (s State) Terminal() bool { return s >= Denied && s <= Revoked }

// A Why is what has brought a transition about.
type Why uint8

// The reasons. There is no zero value.
const (
	Asked      Why = 1  // whose request it is, or who made it for them
	Turn       Why = 2  // the server: it was the next
	ByChair    Why = 3  // a chair
	Passed     Why = 4  // the holder has passed the floor on
	Left       Why = 5  // the session has ended in order
	Lost       Why = 6  // the session was lost, and has not come back in time
	Lapsed     Why = 7  // the lease was not renewed
	Longest    Why = 8  // it was held for the longest time
	Undecided  Why = 9  // no chair has decided in time
	NotChaired Why = 10 // the floor has no chair, or none for too long
	Barred     Why = 11 // whose request it is may not have the floor any more
)

var whyNames = [...]string{
	Asked: "asked", Turn: "turn", ByChair: "chair", Passed: "passed", Left: "left", Lost: "lost",
	Lapsed: "lapsed", Longest: "longest", Undecided: "undecided", NotChaired: "not chaired", Barred: "barred",
}

// String returns the name, such as "lapsed".
func (w Why) String() string {
	if int(w) < len(whyNames) && whyNames[w] != "" {
		return whyNames[w]
	}
	return "unknown"
}

// A Transition is one step of one request, and what a record of the log says. The first of a
// request has all that there is to say of it.
type Transition struct {
	Request  uint64 // its number, which rises in a floor; 0 for Please
	To       State
	Why      Why
	Who      string   // whose request it is
	By       string   // who has done it, if it is somebody else; "" for the server
	Priority Priority // of the request
	Producer Producer // of the request, in its first transition
	Text     string   // a reason, given by who has done it
	Place    int      // Accepted: in the queue; 1 is next
	Grant    uint64   // Granted, Released, Revoked: its number; Please: the holder's
	Time     int64    // Granted: when, in nanoseconds since the Unix epoch

	// The floor after it.
	Holder string   // "" if nobody holds it
	Number uint64   // of the holder's grant; 0 if nobody holds it
	Queue  []string // whose the accepted requests are, the next first
}

// apply makes the transition, in what is durable. What it refuses does not follow from the state.
func (s *state) apply(t *Transition) error {
	if t.To == Please {
		if s.holder == nil || t.Grant != s.held {
			return errorf(Malformed, "nobody can be asked for grant %d", t.Grant)
		}
		return nil
	}
	r, from, at := s.find(t.Request)
	switch {
	case r == nil && t.Request <= s.last:
		return errorf(Malformed, "request %d is no more", t.Request)
	case r != nil && r.who != t.Who:
		return errorf(Malformed, "request %d is not %s's", t.Request, t.Who)
	case r == nil && (t.To == Pending || t.To == Accepted || t.To == Granted):
		r = &request{id: t.Request, who: t.Who, by: t.By, producer: t.Producer, priority: t.Priority, text: t.Text}
		if err := r.check(); err != nil {
			return err
		}
		if s.waiting() >= MaxWaiting && t.To != Granted {
			return errorf(Malformed, "more than %d requests wait", MaxWaiting)
		}
		s.last = t.Request
	case r == nil:
		return errorf(Malformed, "there is no request %d", t.Request)
	case t.To != Missed && t.To != Here && !follows(from, t.To):
		return errorf(Malformed, "%v does not follow %v", t.To, from)
	}
	if t.To == Missed || t.To == Here {
		return s.applyTo(t)
	}
	switch from {
	case Pending:
		s.pending = slices.Delete(s.pending, at, at+1)
	case Accepted:
		s.queue = slices.Delete(s.queue, at, at+1)
	default: // a new one, or the holder's
	}
	switch t.To {
	case Pending:
		s.pending = append(s.pending, *r)
	case Accepted:
		if t.Place < 1 || t.Place > len(s.queue)+1 {
			return errorf(Malformed, "there is no place %d in the queue", t.Place)
		}
		s.queue = slices.Insert(s.queue, t.Place-1, *r)
	case Granted:
		if s.holder != nil || t.Grant <= s.grant {
			return errorf(Malformed, "grant %d follows %d", t.Grant, s.grant)
		}
		r.missed = false // the server that grants has its session
		s.holder, s.held, s.grant, s.grantedAt = r, t.Grant, t.Grant, t.Time
	case Released, Revoked:
		if t.Grant != s.held {
			return errorf(Malformed, "grant %d ends, and %d is held", t.Grant, s.held)
		}
		s.holder, s.held, s.grantedAt = nil, 0, 0
	default: // Denied, Cancelled
	}
	return nil
}

// follows says whether a request that was in one state may be in the other next.
func follows(from, to State) bool {
	switch from {
	case Pending:
		return to == Accepted || to == Granted || to == Denied || to == Cancelled
	case Accepted:
		return to == Accepted || to == Granted || to == Denied || to == Cancelled
	case Granted:
		return to == Released || to == Revoked
	default:
		return false
	}
}

// agrees says whether what t says of the floor after it is so.
func (s *state) agrees(t *Transition) bool {
	holder, number := s.holding()
	return t.Holder == holder && t.Number == number && slices.Equal(t.Queue, s.queued())
}
