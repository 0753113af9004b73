package transport_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// A scene is a session that is about to end, in two ways at about the same time.
type scene struct {
	n              *transporttest.Network
	srv            *transport.Server
	client, server *transport.Session
}

// The acts. Each may take its time.

func clientReleases(s *scene) { _ = s.client.Release(context.Background()) }
func serverReleases(s *scene) { _ = s.server.Release(context.Background()) }
func clientAborts(s *scene)   { s.client.Abort(transport.Internal, "the client's") }
func serverAborts(s *scene)   { s.server.Abort(transport.Kicked, "the server's") }
func serverCloses(s *scene)   { _ = s.srv.Close() }
func cut(s *scene)            { s.n.Cut() }

func serverDrains(s *scene) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_ = s.srv.Shutdown(ctx)
}

// replaced is another connection that asks for the session.
func replaced(s *scene) {
	other, err := transport.Resume(context.Background(), s.client, s.srv.Addr().String(), 7, &transport.Config{
		Credentials: s.n.User("alice"), PacketConn: s.n.Conn(),
	})
	if err == nil {
		time.Sleep(time.Minute)
		other.Abort(transport.Aborted, "")
		_ = other.Wait(context.Background())
	}
}

// told is how a side says that its session has ended: "Released" for what it did itself, "Released by peer" for what the
// other side did.
func told(s *transport.Session) string {
	err := s.Wait(context.Background())
	if err == nil {
		return "Released" // who closed makes no difference to anybody
	}
	var e *transport.Error
	if ok := errors.As(err, &e); !ok {
		return err.Error()
	}
	if e.Remote && e.Code.Class() != transport.ClassGraceful {
		return e.Code.String() + " by peer"
	}
	return e.Code.String()
}

// Two ends that come together, first the one and then the other ever later: what client and server say of it, in the
// order in which that changes. Half a round trip is 10 ms, so there are always some that cross. The client does not
// connect again, so that it says how the connection ended.
func TestS3PairsOfEndings(t *testing.T) {
	for name, row := range map[string]struct {
		one, other func(s *scene)
		want       []string // "client, server": from the other 47 ms before the one to 47 ms after it
	}{
		"both release": {clientReleases, serverReleases, []string{
			"Released, Released",
		}},
		"release against the server's abort": {clientReleases, serverAborts, []string{
			"Kicked by peer, Kicked",
			"Released, Kicked", // the server had sent DISCONNECT, and aborts before the close comes
			"Released, Released",
		}},
		"the server's release against the client's abort": {serverReleases, clientAborts, []string{
			"Internal, Aborted", // a release of a session that was detached
			"Internal, Internal by peer",
			"Internal, Released", // the client had sent DISCONNECT
			"Released, Released",
		}},
		"release against abort, both the client's": {clientReleases, clientAborts, []string{
			"Internal, Internal by peer",
			"Released, Released",
		}},
		"release against abort, both the server's": {serverReleases, serverAborts, []string{
			"Kicked by peer, Kicked",
			"Released, Released",
		}},
		"drain against the client's release": {serverDrains, clientReleases, []string{
			"Released, Released", // what was asked first
			"Drained, Drained",
		}},
		"drain against the server's release": {serverDrains, serverReleases, []string{
			"Released, Released",
			"Drained, Drained",
		}},
		"drain against the client's abort": {serverDrains, clientAborts, []string{
			"Internal, Aborted", // the session was held when the server went
			"Internal, Internal by peer",
			"Drained, Drained",
		}},
		"drain against the server's abort": {serverDrains, serverAborts, []string{
			"Kicked by peer, Kicked",
			"Drained, Kicked", // the client had gone
			"Drained, Drained",
		}},
		"both abort": {clientAborts, serverAborts, []string{
			"Kicked by peer, Kicked",
			"Internal, Kicked", // what crosses, and the abort of a held session
		}},
		"Shutdown against Close": {serverDrains, serverCloses, []string{
			"Aborted by peer, Aborted",
			"Drained, Aborted",
			"Drained, Drained",
		}},
		"Shutdown twice": {serverDrains, serverDrains, []string{
			"Drained, Drained",
		}},
		"release against Close": {clientReleases, serverCloses, []string{
			"Aborted by peer, Aborted",
			"Released, Aborted",
			"Released, Released",
		}},
		"release against a power cut": {clientReleases, cut, []string{
			"ReleaseTimeout, Lost",
			"ReleaseTimeout, Released", // FINISH has arrived, and no answer
			"Released, Released",
		}},
		"the server's release against a power cut": {serverReleases, cut, []string{
			"Lost, ReleaseTimeout",
			"Released, ReleaseTimeout",
			"Released, Released",
		}},
		"drain against a power cut": {serverDrains, cut, []string{
			"Lost, DrainTimeout",
			"Drained, DrainTimeout", // GOAWAY has arrived, and no answer
			"Drained, Drained",
		}},
		"abort against a power cut": {clientAborts, cut, []string{
			"Internal, Lost",
			"Internal, Internal by peer",
		}},
		"the server's abort against a power cut": {serverAborts, cut, []string{
			"Lost, Kicked",
			"Kicked by peer, Kicked",
		}},
		"release against Replaced": {clientReleases, replaced, []string{
			"Replaced by peer, Aborted by peer", // by the other connection, when the test was done with it
			"Released, Aborted by peer",         // the other one's HELLO came before the close
			"Released, Released",
		}},
		"the server's release against Replaced": {serverReleases, replaced, []string{
			"Replaced by peer, Released", // over the other connection
			"Released, Released",
		}},
		"drain against Replaced": {serverDrains, replaced, []string{
			"Replaced by peer, Drained", // over the other connection
			"Drained, Drained",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for apart := -47; apart <= 47; apart += 2 { // odd, so that no two things happen at the same time
				bubble(t, func(t *testing.T, n *transporttest.Network) {
					if result := play(t, n, row.one, row.other, time.Duration(apart)*time.Millisecond); !slices.Contains(got, result) {
						got = append(got, result)
					}
				})
			}
			assert.Equal(t, row.want, got)
		})
	}
}

// play has two acts, so far apart, and returns what the sides say then.
func play(t *testing.T, n *transporttest.Network, one, other func(*scene), apart time.Duration) string {
	t.Helper()
	s := &scene{n: n}
	s.srv = n.Listen(transport.Config{Handlers: on(echo)})
	s.client, s.server = n.Pair(s.srv, "alice", transport.Config{})
	time.Sleep(time.Second)
	var acts sync.WaitGroup
	acts.Go(func() { time.Sleep(-apart); one(s) })
	acts.Go(func() { time.Sleep(apart); other(s) })
	result := told(s.client) + ", " + told(s.server)
	n.Drop(nil)
	acts.Wait()
	return result
}

// The power goes in each step of a release that waits for a call: whoever had all that it needed is Released, and the
// other knows that it was not.
func TestS7PowerCutInEachStepOfARelease(t *testing.T) {
	for name, row := range map[string]struct {
		after time.Duration
		want  string // of who releases, and of the other
	}{
		"before FINISH":           {-time.Millisecond, "ReleaseTimeout, Lost"},
		"before the answer":       {rtt / 4, "ReleaseTimeout, Released"},
		"before DISCONNECT":       {time.Second / 2, "ReleaseTimeout, Released"},
		"before CONNECTION_CLOSE": {time.Second + rtt*3/4, "Released, Released"},
		"after CONNECTION_CLOSE":  {time.Second + rtt*5/4, "Released, Released"},
	} {
		for _, who := range []string{"client", "server"} {
			t.Run(name+", by the "+who, func(t *testing.T) {
				bubble(t, func(t *testing.T, n *transporttest.Network) {
					slow := on(func(ctx context.Context, s *transport.Stream) {
						select {
						case <-s.Draining():
							time.Sleep(time.Second)
							_ = s.Close()
						case <-ctx.Done():
						}
					})
					srv := n.Listen(transport.Config{Handlers: slow})
					client, server := n.Pair(srv, "alice", transport.Config{Handlers: slow})
					one, other := client, server
					if who == "server" {
						one, other = server, client
					}
					go func() { _, _ = say(context.Background(), one, "") }()
					time.Sleep(time.Second)
					go func() {
						time.Sleep(time.Millisecond)
						_ = one.Release(context.Background())
					}()
					time.Sleep(time.Millisecond + row.after)
					n.Cut()
					assert.Equal(t, row.want, told(one)+", "+told(other))
				})
			})
		}
	}
}

// The close packet of who ends in order is lost: the other side had DISCONNECT, and says the same, a little later.
func TestS7LostClosePacket(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(s *scene)
		want string
		most time.Duration
	}{
		"of a release":               {clientReleases, "Released, Released", 16 * time.Second},
		"of a release, the server's": {serverReleases, "Released, Released", 16 * time.Second},
		"of a drain": {func(s *scene) {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			assert.NoError(t, s.srv.Shutdown(ctx), "nothing was cut off")
		}, "Drained, Drained", 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				s := &scene{n: n}
				s.srv = n.Listen(transport.Config{Handlers: on(echo)})
				s.client, s.server = n.Pair(s.srv, "alice", transport.Config{})
				time.Sleep(time.Second)
				begun := time.Now()
				done := make(chan struct{})
				go func() { defer close(done); row.end(s) }()
				time.Sleep(rtt * 3 / 4) // FINISH and its answer are on their way, or there
				if name == "of a drain" {
					time.Sleep(rtt / 2)
				}
				n.Cut()
				assert.Equal(t, row.want, told(s.client)+", "+told(s.server))
				assert.Less(t, time.Since(begun), row.most)
				n.Drop(nil)
				<-done
			})
		})
	}
}
