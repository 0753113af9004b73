package transport_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// controlSeeds are frames as peers send them, whole, cut short and out of place.
func controlSeeds(f *testing.F) {
	f.Helper()
	ping := transport.AppendPing(48)
	finish := transport.AppendFinish(1, 0)
	for _, seed := range [][]byte{
		nil,
		ping,
		ping[:len(ping)-1],
		transport.AppendPong(),
		finish,
		transport.AppendFinish(2, 4),
		transport.AppendForcedFinish(),
		transport.AppendFinish(7, 1<<61),
		append(append([]byte{}, finish...), transport.AppendFrame(nil, 0x09, []byte{0x0a, 1, 0xff})...),
		append(append([]byte{}, finish...), transport.AppendDisconnect(0)...),
		transport.AppendDisconnect(1 << 61),
		transport.AppendGoAway(0, 0, 0, ""),
		append(transport.AppendGoAway(1<<61, 1<<63, 1<<63, "soon"), transport.AppendGoAway(4, 0, 1, "now")...),
		transport.AppendFrame(nil, 0x10, []byte("unknown and even")),
		transport.AppendFrame(nil, 0x11, []byte("unknown and odd")),
		transport.AppendFrameHeader(nil, 0x0d, transport.MaxControlFrame+1),
		transport.AppendFrameHeader(nil, 0x05, 1<<40),
		hello(1, 2)[1:],
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
}

// checkEndOfBadControl checks how a session ended whose peer said anything at all on control: not
// in order unless a release was complete (S7), and otherwise with a code that names the peer's fault, or the time
// that it did not keep.
func checkEndOfBadControl(t *testing.T, err error, disconnected bool) {
	t.Helper()
	var e *transport.Error
	switch {
	case err == nil:
		assert.True(t, disconnected, "S7: released without DISCONNECT")
		return
	case !assert.ErrorAs(t, err, &e):
		return
	}
	switch e.Code {
	case transport.Drained:
		// The server's word was taken for its going away, and then there was silence.
	case transport.Protocol, transport.FrameTooLarge, transport.ClosedCriticalStream, transport.ReleaseTimeout, transport.ExcessiveLoad, transport.Lost:
	case transport.Aborted:
		assert.True(t, e.Remote, "%v", e)
	default:
		t.Errorf("ended with %v", e)
	}
}

// Whatever a client says on control ends its own session at most, with a code that fits.
func FuzzControlFramesOfAClient(f *testing.F) {
	controlSeeds(f)
	f.Fuzz(func(t *testing.T, wire []byte, fin bool) {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			srv := n.Listen(transport.Config{Handlers: on(echo), Hold: -1})
			other := n.Dial(srv, "bob", transport.Config{})
			p, r := live(t, n, srv, 1, 1)
			var server *transport.Session
			for _, s := range srv.Sessions() {
				if s.ID() != other.ID() {
					server = s
				}
			}
			require.NotNil(t, server)
			disconnected := make(chan bool, 1)
			go func() { disconnected <- sawDisconnect(r) }()
			p.control(wire)
			if fin {
				_ = p.ctl.Close()
			}
			time.Sleep(time.Second)
			requireEcho(t, other)
			_ = p.conn.CloseWithError(0x100, "") // which it may not believe (M16)
			err := server.Wait(t.Context())
			checkEndOfBadControl(t, err, <-disconnected)
			requireEcho(t, other)
		})
	})
}

// The same of a server, and its client.
func FuzzControlFramesOfAServer(f *testing.F) {
	controlSeeds(f)
	f.Fuzz(func(t *testing.T, wire []byte, fin bool) {
		bubble(t, func(t *testing.T, n *transporttest.Network) {
			s, srv := dialRawServer(t, n, transport.Config{NoReconnect: true})
			disconnected := make(chan bool, 1)
			go func() { disconnected <- sawDisconnect(srv.r) }()
			_, err := srv.ctl.Write(wire)
			require.NoError(t, err)
			if fin {
				_ = srv.ctl.Close()
			}
			time.Sleep(time.Second)
			_ = srv.conn.CloseWithError(0x100, "") // which it may not believe (M16)
			err = s.Wait(t.Context())
			checkEndOfBadControl(t, err, <-disconnected)
		})
	})
}

// sawDisconnect reads control to its end.
func sawDisconnect(r *transport.FrameReader) bool {
	for {
		typ, _, err := r.ReadFrame(anyFrame)
		switch {
		case err != nil:
			return false
		case typ == 0x0b:
			return true
		}
	}
}
