package transport

import (
	"context"
	"errors"
	"time"

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

// NotFinishedError reports that the peer refused a release. The session goes on as before.
type NotFinishedError struct{ Reason string }

func (e *NotFinishedError) Error() string { return "release refused by peer: " + e.Reason }

// finish runs the initiator's side. It returns nil when the connection is closed, and a
// NotFinishedError when the peer refuses. In a release each step may take Config.ReleaseTimeout;
// ctx bounds them all.
func (l *link) finish(ctx context.Context, m mode) error {
	answered := make(chan struct{})
	l.mu.Lock()
	underway := l.finishing != 0
	if !underway {
		l.finishing, l.initiator, l.answered, l.refusal = m, true, answered, nil
	}
	l.mu.Unlock()
	if underway {
		select {
		case <-l.closed:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if l.send(appendMessage(nil, frameFinish, &controlpb.Finish{Mode: controlpb.Finish_Mode(m)})) != nil {
		return nil //nolint:nilerr // send has closed the link, whose outcome tells
	}
	if !l.await(ctx, m, answered) {
		return nil
	}
	l.mu.Lock()
	refusal, overtaken := l.refusal, !l.initiator
	if refusal != nil {
		l.finishing, l.initiator = 0, false
	}
	l.mu.Unlock()
	switch {
	case refusal != nil:
		return refusal
	case overtaken:
		<-l.closed
		return nil
	}
	l.startDraining()
	if l.await(ctx, m, l.left) && l.await(ctx, m, l.quietChan()) {
		l.close(m.code(), "")
	}
	return nil
}

// await waits for done within the time of one step, and aborts the connection when that
// has passed. It says whether done came.
func (l *link) await(ctx context.Context, m mode, done <-chan struct{}) bool {
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

// answer ends the initiator's wait for what the peer says to its FINISH; the lock is held.
func (l *link) answerLocked(refusal *NotFinishedError) {
	if l.answered != nil {
		l.refusal = refusal
		close(l.answered)
		l.answered = nil
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
func (l *link) handleFinish(wire controlpb.Finish_Mode) error {
	m := mode(wire)
	if m != leave && m != drain {
		return errors.New("FINISH with an unknown mode")
	}
	l.mu.Lock()
	mayRefuse := m == leave && l.finishing == 0 && !l.goingAway && l.cfg.MayRelease != nil
	l.mu.Unlock()
	if mayRefuse {
		if err := l.cfg.MayRelease(l.sess); err != nil {
			return l.send(appendMessage(nil, frameNotFinished, &controlpb.NotFinished{Reason: err.Error()}))
		}
	}
	l.mu.Lock()
	if l.finishing != 0 && (l.client || !l.initiator) {
		l.mu.Unlock()
		return nil // we are the initiator, and the client's FINISH goes first; or it was said twice
	}
	l.finishing, l.initiator = m, false
	l.answerLocked(nil) // whoever waits in finish finds that it is not the initiator any more
	goAway := &controlpb.GoAway{LastStream: uint64(l.limit)}
	l.mu.Unlock()
	if err := l.send(appendMessage(nil, frameGoAway, goAway)); err != nil {
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
	l.disconnected = true
	m := l.finishing
	l.mu.Unlock()
	if l.send(appendMessage(nil, frameDisconnect, &controlpb.Disconnect{})) != nil {
		return
	}
	l.writing.Lock()
	_ = l.control.Close() // fails only if the peer has reset it, which readControl sees
	l.writing.Unlock()
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-l.closed:
	case <-timer.C:
		l.close(m.code(), "")
	}
}

// handleDisconnect notes that the responder is done.
func (l *link) handleDisconnect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.initiator || l.disconnected {
		return errors.New("DISCONNECT without FINISH")
	}
	l.disconnected = true
	close(l.left)
	return nil
}

// handleGoAway notes what the peer says of the streams that it accepts: as the answer to our
// FINISH, or because it drains.
func (l *link) handleGoAway(m *controlpb.GoAway) {
	drains := m.GetTimeLeftMs() > 0
	l.mu.Lock()
	first := drains && !l.goneAway
	if first {
		l.goneAway = true
		l.reconnectAfter = millis(m.GetReconnectAfterMs(), maxReconnectAfter)
		l.goAwayUntil = time.Now().Add(millis(m.GetTimeLeftMs(), maxTimeLeft))
	}
	l.answerLocked(nil)
	until, initiator := l.goAwayUntil, l.initiator
	l.mu.Unlock()
	l.rejectAbove(m.GetLastStream())
	if !first || initiator || !l.client {
		return
	}
	l.log.Info("server drains", "session", l.sess.id, "reason", printable(m.GetReason()))
	l.startDraining()
	l.wg.Go(func() {
		// The server cuts off whoever is late, so its clock goes first.
		ctx, cancel := context.WithDeadline(context.Background(), until.Add(l.cfg.ReleaseTimeout))
		defer cancel()
		_ = l.finish(ctx, drain) // the link's outcome tells
	})
}

// drain asks the client to go, waits until it has gone, and cuts it off when ctx ends. It
// says whether it had to.
func (l *link) drain(ctx context.Context, reconnectAfter time.Duration) (cut bool) {
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(maxTimeLeft)
	}
	l.mu.Lock()
	l.goingAway = true
	goAway := &controlpb.GoAway{
		LastStream:       uint64(l.limit),
		ReconnectAfterMs: uint64(reconnectAfter.Milliseconds()),
		TimeLeftMs:       uint64(max(time.Millisecond, time.Until(deadline)).Milliseconds()),
		Reason:           "server is shutting down",
	}
	l.mu.Unlock()
	l.startDraining()
	if l.send(appendMessage(nil, frameGoAway, goAway)) != nil {
		return false
	}
	timer := time.NewTimer(goAwayGrace)
	defer timer.Stop()
	select {
	case <-l.closed:
		return false
	case <-ctx.Done():
	case <-timer.C:
		l.mu.Lock()
		l.limit = max(l.lastAccepted, 0)
		goAway.LastStream = uint64(l.limit)
		l.mu.Unlock()
		if l.send(appendMessage(nil, frameGoAway, goAway)) != nil {
			return false
		}
		select {
		case <-l.closed:
			return false
		case <-ctx.Done():
		}
	}
	if l.isClosed() {
		return false
	}
	l.close(DrainTimeout, "work was not done when the server had to go")
	return true
}
