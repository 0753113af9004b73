package transport

import (
	"context"

	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// Negotiated release (X.225, the functional unit of that name): who is asked for a release may have something that is not
// finished, and say so; then all goes on as before. Whoever goes in any case forces it.

// NotFinishedError reports that the peer refused a release. The session goes on as before.
type NotFinishedError struct{ Reason string }

func (e *NotFinishedError) Error() string { return "release refused by peer: " + e.Reason }

// A question is a FINISH of ours.
type question struct {
	lastOpened uint64        // what it says
	force      bool          // likewise
	callers    int           // of Release and Close that wait for the answer; guarded by link.mu
	answered   chan struct{} // closed with the peer's answer, which follows
	refusal    *NotFinishedError
	overtaken  bool // by the client's FINISH
}

// Close ends the session in order, as [Session.Release] does, but the peer cannot refuse it, and in all it takes no longer than
// [Config.ReleaseTimeout]; what is not done by then is cut off. When it returns the session has ended: it is what a program defers, which
// could do nothing about a refusal, and must not leave a session behind that goes on connecting. (A session that is to end at once is
// aborted.) It returns nil if the session was released, now or before, and how it ended otherwise. It does not wait for handlers
// that go on after that; [Session.Wait] does.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ReleaseTimeout)
	defer cancel()
	_ = s.release(ctx, true)             // only an older peer, which does not know what force is, refuses
	s.Abort(Aborted, "left in any case") // nothing, if the connection has been closed
	<-s.ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outcome.Code == Released {
		return nil
	}
	return s.outcome
}

// release has the connection end, unless the peer refuses that.
func (s *Session) release(ctx context.Context, force bool) *NotFinishedError {
	for {
		l := s.beginRelease()
		if l == nil {
			return nil
		}
		q := l.finish(ctx, force)
		switch {
		case q == nil:
			return nil
		case force && !q.force: // another caller's question was refused
			continue
		}
		return q.refusal
	}
}

// mayRefuseLocked says whether a release that the peer asks for can be refused: not while this side wants to end the connection
// itself.
func (l *link) mayRefuseLocked() bool { return l.finishing == 0 && !l.goingAway }

// refuse answers a FINISH with NOT_FINISHED, unless this side has come to want the end itself meanwhile (M18, M142). It goes out
// before anything that would follow from that.
func (l *link) refuse(reason string) (refused bool, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	refused = l.mayRefuseLocked()
	l.mu.Unlock()
	if !refused {
		return false, nil
	}
	return true, l.sendLocked(appendMessage(nil, frameNotFinished, &controlpb.NotFinished{Reason: cut(reason)}))
}

// handleNotFinished takes a refusal in: in one step the session is one that goes on after a loss, and whoever asked learns of it. After
// the connection's end it comes too late.
func (l *link) handleNotFinished(m *controlpb.NotFinished) {
	s := l.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	l.mu.Lock() // after the session's
	defer l.mu.Unlock()
	if l.asked == nil || l.outcome != nil {
		return
	}
	s.releasing -= l.asked.callers
	l.answerLocked(&NotFinishedError{Reason: printable(m.GetReason())}, false)
}

// giveUpAsking ends the wait for an answer, for the connection is being closed: if there was a refusal after all, the session
// outlives that, and a later one is not taken in.
func (l *link) giveUpAsking(q *question) (refused *question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.refusal != nil {
		return q
	}
	if l.asked == q {
		l.asked = nil
	}
	return nil
}

// giveBack has what the session holds given back, before the other side learns that a release is complete.
func (l *link) giveBack(m mode) {
	if m == leave && l.cfg.BeforeRelease != nil {
		l.cfg.BeforeRelease(l.handlersContext(), l.sess)
	}
}
