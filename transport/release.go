package transport

import (
	"context"
	"errors"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/trunkline-go/trunkline/transport/internal/controlpb"
)

// The release of a session, after X.225 (orderly release) and HTTP/3's GOAWAY (RFC 9114,
// section 5.2). The initiator closes, because it is who receives last: CONNECTION_CLOSE throws
// away what the peer has received and not read.
//
//	initiator                             responder
//	---------                             ---------
//	opens nothing new
//	FINISH →
//	                                    ← NOT_FINISHED{why}: all goes on as before
//	                                  or:
//	                                      opens nothing new
//	                                    ← GOAWAY: accepted
//	(both) streams come to their end
//	                                    ← DISCONNECT, FIN: all of its streams have ended
//	its own streams have ended
//	CONNECTION_CLOSE(Released) →
//	                                      closes by itself after closeGrace
//
// In a drain the server's GOAWAY{time left} comes first and asks for it; the client answers
// with FINISH{drain}, and the code is Drained. When both sides send FINISH at once, the
// client is the initiator. The initiator's clock bounds each step; a responder waits for
// as long as the connection lives, or its own drain allows.

const (
	// closeGrace is how long the responder waits for the close after DISCONNECT.
	closeGrace = 5 * time.Second
	// goAwayGrace is how long a draining server goes on accepting new streams, those that
	// were sent before its first GOAWAY arrived.
	goAwayGrace = time.Second
	// maxReconnectAfter and maxTimeLeft cap what a GOAWAY may ask for.
	maxReconnectAfter = 5 * time.Minute
	maxTimeLeft       = time.Hour
)

// A mode is what a release is for.
type mode uint8

const (
	leave mode = iota + 1 // the session ends
	drain                 // the connection ends, the session is kept
)

func (m mode) code() CloseCode {
	if m == drain {
		return Drained
	}
	return Released
}

// finish runs the initiator's side of a release. It returns nil when the connection is closed, and the question
// that the peer has refused, if it has. Each step may take Config.ReleaseTimeout;
// ctx bounds them all. While a release or drain is under way it waits for that one.
func (l *link) finish(ctx context.Context, force bool) (refused *question) {
	l.mu.Lock()
	q, underway := l.asked, l.finishing != 0
	if !underway {
		q = l.askLocked(leave, force)
	}
	if q != nil {
		q.callers++
	}
	l.mu.Unlock()
	if !underway {
		return l.conclude(ctx, leave, q)
	}
	if q != nil {
		if !l.await(ctx, drain, q.answered) {
			return l.giveUpAsking(q)
		}
		if q.refusal != nil {
			return q
		}
	}
	l.await(ctx, drain, l.closed)
	return nil
}

// askLocked makes this side the initiator of a release; the lock is held.
func (l *link) askLocked(m mode, force bool) *question {
	q := &question{answered: make(chan struct{}), lastOpened: uint64(l.lastOpened), force: force}
	l.finishing, l.initiator, l.asked = m, true, q
	if l.left == nil {
		l.left = make(chan struct{})
	}
	return q
}

// conclude asks, and brings the release to its end, unless the peer refuses.
func (l *link) conclude(ctx context.Context, m mode, q *question) (refused *question) {
	if l.send(appendMessage(nil, frameFinish, &controlpb.Finish{Mode: controlpb.Finish_Mode(m), LastOpened: q.lastOpened, Force: q.force})) != nil {
		return nil // send has closed the link, whose outcome tells
	}
	if !l.await(ctx, m, q.answered) {
		return l.giveUpAsking(q)
	}
	switch {
	case q.refusal != nil:
		return q
	case q.overtaken:
		l.await(ctx, drain, l.closed) // the client's clock bounds it, and ctx
		return nil
	}
	l.startDraining()
	if l.await(ctx, m, l.left) && l.await(ctx, m, l.quietChan()) {
		l.giveBack(m)
		l.close(m.code(), "")
	}
	return nil
}

// await waits for done within the time of one step, and aborts the connection when that
// has passed. It says whether done came.
func (l *link) await(ctx context.Context, m mode, done <-chan struct{}) bool {
	select {
	case <-done: // mostly, for what the peer says last comes with what it says first
		return true
	default:
	}
	var timeout <-chan time.Time // a drain has the server's time
	if m == leave {
		timer := time.NewTimer(l.cfg.ReleaseTimeout)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-done:
		return true
	case <-l.closed:
		return false
	case <-ctx.Done():
	case <-timeout:
	}
	l.close(ReleaseTimeout, "the release took too long")
	return false
}

// answerLocked ends the initiator's wait for what the peer says to its FINISH; the lock is held.
func (l *link) answerLocked(refusal *NotFinishedError, overtaken bool) {
	if l.asked == nil {
		return
	}
	l.asked.refusal, l.asked.overtaken = refusal, overtaken
	close(l.asked.answered)
	l.asked = nil
	if refusal != nil { // here, for what the peer says next may already depend on it
		l.finishing, l.initiator = 0, false
	}
}

// startDraining tells the streams' handlers and users to come to an end.
func (l *link) startDraining() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.draining:
	default:
		close(l.draining)
	}
}

// handleFinish begins the responder's side.
func (l *link) handleFinish(finish *controlpb.Finish) error {
	m := mode(finish.GetMode())
	if m != leave && m != drain {
		return errors.New("FINISH with an unknown mode")
	}
	l.mu.Lock()
	if m == drain && (l.client || !l.goingAway) {
		l.mu.Unlock()
		return errors.New("FINISH for a drain that nobody asked for")
	}
	mayRefuse := m == leave && !finish.GetForce() && l.mayRefuseLocked() && l.cfg.MayRelease != nil
	l.mu.Unlock()
	if mayRefuse {
		if why := l.cfg.MayRelease(l.sess); why != nil {
			if refused, err := l.refuse(why.Error()); refused {
				return err
			}
		}
	}
	l.mu.Lock()
	if l.finishing != 0 && (l.client || !l.initiator) {
		l.mu.Unlock()
		return nil // we are the initiator, and the client's FINISH goes first; or it was said twice
	}
	l.finishing, l.initiator, l.peerOpened = m, false, streamID(finish.GetLastOpened())
	l.answerLocked(nil, true) // whoever waits in finish finds that it is not the initiator any more
	l.mu.Unlock()
	if err := l.sendGoAway(&controlpb.GoAway{}); err != nil {
		return err
	}
	l.startDraining()
	l.wg.Go(l.disconnect)
	return nil
}

// disconnect waits for all streams to end, accepts the FINISH, and waits for the close.
func (l *link) disconnect() {
	select {
	case <-l.quietChan():
	case <-l.closed:
		return
	}
	l.mu.Lock()
	m := l.finishing
	l.mu.Unlock()
	l.giveBack(m)
	l.mu.Lock()
	l.disconnected = true
	lastOpened := uint64(l.lastOpened)
	l.mu.Unlock()
	l.writing.Lock()
	err := l.sendLocked(appendMessage(nil, frameDisconnect, &controlpb.Disconnect{LastOpened: lastOpened}))
	if err == nil {
		l.finSent = true
		_ = l.control.Close() // fails only if the peer has reset it, which readControl sees
	}
	l.writing.Unlock()
	if err != nil {
		return
	}
	var timeout <-chan time.Time // a drain has the server's time
	if m == leave {
		timer := time.NewTimer(l.cfg.ReleaseTimeout + closeGrace) // the initiator may still read for that long
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-l.closed:
	case <-timeout:
		l.close(m.code(), "")
	}
}

// sendGoAway sends m with the limit that holds now, so that the ids never rise (M17).
func (l *link) sendGoAway(m *controlpb.GoAway) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	m.LastStream = uint64(l.limit)
	l.mu.Unlock()
	return l.sendLocked(appendMessage(nil, frameGoAway, m))
}

// streamID turns a stream id from the wire into one that can be compared with ours.
func streamID(id uint64) quic.StreamID { return quic.StreamID(min(id, quicvarint.Max)) }

// handleDisconnect notes that the responder is done.
func (l *link) handleDisconnect(m *controlpb.Disconnect) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.initiator || l.disconnected {
		return errors.New("DISCONNECT without FINISH")
	}
	l.disconnected = true
	l.peerOpened = streamID(m.GetLastOpened())
	l.quietLocked()
	close(l.left)
	return nil
}

// handleGoAway notes what the peer says of the streams that it accepts: as the answer to our
// FINISH, or because it drains.
func (l *link) handleGoAway(m *controlpb.GoAway) error {
	drains := m.GetTimeLeftMs() > 0
	if drains && !l.client {
		return errors.New("GOAWAY of a client that drains") // else its silence would be graceful (S7)
	}
	l.mu.Lock()
	first := drains && !l.goneAway
	if first {
		l.goneAway = true
		l.reconnectAfter = millis(m.GetReconnectAfterMs(), maxReconnectAfter)
		l.goAwayUntil = time.Now().Add(millis(m.GetTimeLeftMs(), maxTimeLeft))
	}
	l.answerLocked(nil, false)
	var q *question
	if first && l.finishing == 0 { // before anybody learns of it and asks for something else
		q = l.askLocked(drain, false)
	}
	until := l.goAwayUntil
	l.mu.Unlock()
	if q != nil {
		l.startDraining() // first: whose stream is rejected looks whether that is why
	}
	l.rejectAbove(m.GetLastStream())
	if q == nil {
		return nil
	}
	l.log().Info("server drains", "reason", printable(m.GetReason()))
	l.wg.Go(func() {
		// The server cuts off whoever is late, so its clock goes first.
		ctx, cancel := context.WithDeadline(context.Background(), until.Add(l.cfg.ReleaseTimeout))
		defer cancel()
		_ = l.conclude(ctx, drain, q) // the link's outcome tells
	})
	return nil
}

// drain asks the client to go, waits until it has gone, and cuts it off when ctx ends. It
// says whether it had to, and how many streams were then open. Who has been told DISCONNECT had nothing more to
// wait for here: its close was lost, or it does not read.
func (l *link) drain(ctx context.Context, reconnectAfter time.Duration) (streams int, cut bool) {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(maxTimeLeft)
	}
	l.mu.Lock()
	l.goingAway = true
	l.mu.Unlock()
	goAway := &controlpb.GoAway{
		ReconnectAfterMs: uint64(reconnectAfter.Milliseconds()),
		TimeLeftMs:       uint64(max(time.Millisecond, time.Until(deadline)).Milliseconds()),
		Reason:           "server is shutting down",
	}
	l.startDraining()
	if l.sendGoAway(goAway) != nil {
		return 0, false
	}
	timer := time.NewTimer(goAwayGrace)
	defer timer.Stop()
	select {
	case <-l.closed:
		return 0, false
	case <-ctx.Done():
	case <-timer.C:
		l.mu.Lock()
		l.limit = max(l.lastAccepted, 0)
		l.mu.Unlock()
		if l.sendGoAway(goAway) != nil {
			return 0, false
		}
		select {
		case <-l.closed:
			return 0, false
		case <-ctx.Done():
		}
	}
	if l.isClosed() {
		return 0, false
	}
	l.mu.Lock()
	streams, cut = len(l.opened)+l.serving, !l.disconnected
	l.mu.Unlock()
	l.close(DrainTimeout, "work was not done when the server had to go")
	return streams, cut
}
