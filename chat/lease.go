package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// ErrLeaseLost is the cause with which the context of a [Lease] ends that was not released: it was revoked, or passed on, or could not
// be renewed in time.
var ErrLeaseLost = errors.New("chat: the lease of the floor is lost")

// A LeaseConfig configures a [Lease]. The zero value works.
type LeaseConfig struct {
	// Producer has the lease survive a restart of the server. Default: none. A chat client's lease has the client's, if it has one.
	Producer Producer

	// Priority is "lowest" to "highest", and Reason at most 256 bytes that all see, see [FloorRequest].
	Priority, Reason string

	// Waiting, if it is set, is called by [Acquire] while its request waits: with the floor as it is, at first and after changes, and the
	// request's number.
	Waiting func(st *FloorStatus, request uint64)
}

// A Lease is the floor of a room, held. While it is, it renews its grant. Its context ends with it, by the holder's own clock: before
// the server gives the floor to somebody else, as long as the two clocks run at the same speed. Who does something elsewhere
// under a lease, which must not be done by two, gives its number, and that place refuses a number below one that it has seen.
type Lease struct {
	session  *transport.Session
	room     string
	producer []byte
	grant    uint64
	at       Position
	ctx      context.Context
	cancel   context.CancelCauseFunc
	work     sync.WaitGroup // what renews, and what watches

	mu    sync.Mutex // guards what follows
	until time.Time  // the zero Time is never
	timer *time.Timer
}

// leaseRetry is how long a lease waits before it asks again what could not be asked.
const leaseRetry = time.Second

// leaseCheck is how often it looks whether a grant still holds that need not be renewed.
const leaseCheck = 10 * time.Second

// Acquire waits for the floor of a room, for as long as ctx allows; when that ends first the request is given up. An error with
// [rpc.Aborted] says that the request has come to its end without being granted: a chair has denied it, say. The session need not be in
// the room, but it must be a member's. It has one request there: leases that it acquires while it has one are of the same grant, and each
// gives that back. To keep two parts of a program apart takes two sessions.
func Acquire(ctx context.Context, session *transport.Session, room string, cfg LeaseConfig) (*Lease, error) {
	l := newLease(session, room, cfg)
	req := &FloorRequest{Room: room, Priority: cfg.Priority, Reason: cfg.Reason, Producer: l.producer}
	for {
		// Asked again after each failure: the server may have restarted, and has to be told who is there.
		asked := time.Now()
		res, err := RequestFloor.Call(ctx, session, req)
		if err == nil {
			if res.State == FloorGranted {
				l.hold(res, asked)
				return l, nil
			}
			// Its number may be another one than before, if that has ended while nobody could tell.
			if err = l.await(ctx, res.Request, cfg.Waiting); err == nil {
				continue // it is granted: the next answer says for how long
			}
		}
		if passing(err) && session.Context().Err() == nil && pause(ctx, leaseRetry) {
			continue
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			l.giveUp(ctx)
		} else if res != nil && rpc.CodeOf(err) != rpc.Aborted { // it waits, and nobody can say for what
			l.giveUp(ctx)
		}
		return nil, err
	}
}

// Hold makes a lease of a grant that the session has, because the floor was passed to it, say. The error is
// [rpc.FailedPrecondition] if the grant is not this session's.
func Hold(ctx context.Context, session *transport.Session, room string, grant uint64, cfg LeaseConfig) (*Lease, error) {
	l := newLease(session, room, cfg)
	asked := time.Now()
	res, err := RenewFloor.Call(ctx, session, &FloorRenewal{Room: room, Grant: grant, Producer: l.producer})
	if err != nil {
		return nil, err
	}
	l.hold(res, asked)
	return l, nil
}

func newLease(session *transport.Session, room string, cfg LeaseConfig) *Lease {
	l := &Lease{session: session, room: room}
	if cfg.Producer != (Producer{}) {
		l.producer = cfg.Producer[:]
	}
	return l
}

// passing says whether it is worth asking again.
func passing(err error) bool {
	switch rpc.CodeOf(err) {
	case rpc.Unavailable, rpc.Unknown:
		return true
	default:
		return errors.Is(err, io.EOF)
	}
}

// pause waits, and says whether ctx has let it.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits until a request is granted, or is no more: an error with rpc.Aborted.
func (l *Lease) await(ctx context.Context, number uint64, waiting func(*FloorStatus, uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	statuses, err := WatchFloor.Call(ctx, l.session, &FloorQuery{Room: l.room})
	if err != nil {
		return err
	}
	defer statuses.Close()
	for {
		st, err := statuses.Recv()
		if err != nil {
			return err
		}
		switch {
		case st.Holder != nil && st.Holder.Request == number:
			return nil
		case !waits(st.Queue, number) && !waits(st.Pending, number):
			return rpc.Errorf(rpc.Aborted, "the request for the floor has ended: it was denied, or given up")
		case waiting != nil:
			waiting(st, number)
		}
	}
}

func waits(all []FloorParticipant, number uint64) bool {
	for i := range all {
		if all[i].Request == number {
			return true
		}
	}
	return false
}

// giveUp takes a request back that nobody waits for any more, and of which nobody may know: the server may have it also when there
// was no answer.
func (l *Lease) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseRetry)
	defer cancel()
	_, _ = ReleaseFloor.Call(ctx, l.session, &FloorRelease{Room: l.room, Own: true}) // else its grant lapses, or ends with the session
}

// hold begins to hold a grant, by an answer to what was asked then.
func (l *Lease) hold(res *FloorResponse, asked time.Time) {
	l.grant, l.at = res.Grant, Position{res.Epoch, res.Seq}
	l.ctx, l.cancel = context.WithCancelCause(l.session.Context())
	l.extend(res, asked)
	l.work.Go(l.renew)
	l.work.Go(l.watch)
}

func (l *Lease) extend(res *FloorResponse, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	if res.ForMs == 0 {
		return
	}
	l.until = asked.Add(time.Duration(res.ForMs) * time.Millisecond)
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(l.until), l.lapse)
	} else {
		l.timer.Reset(time.Until(l.until))
	}
}

// lapse ends the lease if it has not been renewed.
func (l *Lease) lapse() {
	l.mu.Lock()
	over := !l.until.IsZero() && !time.Now().Before(l.until)
	l.mu.Unlock()
	if over {
		l.cancel(fmt.Errorf("%w: it was not renewed in time", ErrLeaseLost))
	}
}

// Until returns until when the lease holds if it cannot be renewed; the zero Time is for ever.
func (l *Lease) Until() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// Position returns where the record stands that granted it; the zero Position, if the server does not know.
func (l *Lease) Position() Position { return l.at }

// Grant returns the number of the grant, which is above those of all grants before it.
func (l *Lease) Grant() uint64 { return l.grant }

// Context returns a context that ends with the lease. Its cause is [ErrLeaseLost], or that of the session's, or
// [context.Canceled] after Release.
func (l *Lease) Context() context.Context { return l.ctx }

// renew renews the grant until the context ends.
func (l *Lease) renew() {
	for pause(l.ctx, l.patience()) {
		asked := time.Now()
		res, err := RenewFloor.Call(l.ctx, l.session, &FloorRenewal{Room: l.room, Grant: l.grant, Producer: l.producer})
		if err != nil {
			l.lose(err)
			continue
		}
		l.extend(res, asked)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}

// watch ends the lease as soon as the server tells that somebody else has the floor, or nobody.
func (l *Lease) watch() {
	for l.ctx.Err() == nil {
		statuses, err := WatchFloor.Call(l.ctx, l.session, &FloorQuery{Room: l.room})
		for err == nil {
			var st *FloorStatus
			if st, err = statuses.Recv(); err == nil && (st.Holder == nil || st.Holder.Grant != l.grant) {
				l.cancel(ErrLeaseLost)
			}
		}
		l.lose(err)
		pause(l.ctx, leaseRetry)
	}
}

// lose ends the lease if an error says that the floor is not ours any more, and nothing of the call that had it.
func (l *Lease) lose(err error) {
	switch rpc.CodeOf(err) {
	case rpc.FailedPrecondition, rpc.PermissionDenied, rpc.NotFound, rpc.Unauthenticated:
		l.cancel(fmt.Errorf("%w: %w", ErrLeaseLost, err))
	default: // until its time is over
	}
}

// patience returns when the next renewal is due: in time for two that fail.
func (l *Lease) patience() time.Duration {
	until := l.Until()
	if until.IsZero() {
		return leaseCheck
	}
	return max(min(time.Until(until)/3, leaseCheck), leaseRetry/10)
}

// Release gives the floor back. Nothing is done under the lease any more when it is called: the context ends first. The
// floor is free, or somebody else's, when it returns nil, and also if the lease had been lost.
func (l *Lease) Release(ctx context.Context) error {
	l.cancel(context.Canceled)
	l.work.Wait()
	_, err := ReleaseFloor.Call(ctx, l.session, &FloorRelease{Room: l.room, Grant: l.grant})
	switch rpc.CodeOf(err) {
	case rpc.FailedPrecondition, rpc.NotFound: // also when the room is
		return nil
	default:
		return err
	}
}
