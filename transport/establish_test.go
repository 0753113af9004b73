package transport_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestBothSidesKnowEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Name: "server/1", Handlers: on(echo)})
		client, server := n.Pair(srv, "alice", transport.Config{Name: "client/2"})
		domain := n.Authority().Domain()
		alice, err := certs.UserID(domain, "alice")
		require.NoError(t, err)
		house, err := certs.ServerID(domain)
		require.NoError(t, err)

		assert.Equal(t, house, client.Peer().ID)
		assert.Equal(t, "server/1", client.Peer().Software)
		assert.Equal(t, alice, client.Identity())
		assert.Equal(t, alice, server.Identity())
		assert.Equal(t, alice, server.Peer().ID)
		assert.Equal(t, certs.FingerprintOf(n.User("alice").Certificate.Leaf), server.Peer().Fingerprint)
		assert.Equal(t, "client/2", server.Peer().Software)
		assert.Equal(t, transport.StateLive, client.State())
		assert.Equal(t, transport.StateLive, server.State())
		assert.False(t, client.Kept())
		requireEcho(t, client)
	})
}

// A client whose certificate the server does not accept never has a session, though its TLS
// handshake ends before the server has looked (S1).
func TestS1RejectedCertificateNeverYieldsASession(t *testing.T) {
	for name, row := range map[string]struct {
		credentials func(t *testing.T, n *transporttest.Network) *certs.Credentials
		code        transport.CloseCode
		reason      string
	}{
		"of another authority": {
			credentials: func(t *testing.T, n *transporttest.Network) *certs.Credentials {
				other := transporttest.New(t, rtt).User("alice")
				other.Authority = n.Authority().Certificate() // so that it trusts the server
				return other
			},
			code: transport.Unauthorized, reason: "certificate",
		},
		"expired": {
			credentials: func(_ *testing.T, n *transporttest.Network) *certs.Credentials {
				c := n.User("alice")
				time.Sleep(91 * 24 * time.Hour)
				return c
			},
			code: transport.Expired, reason: "expired",
		},
		"the server's own": {
			credentials: func(t *testing.T, n *transporttest.Network) *certs.Credentials {
				c, err := n.Authority().IssueServer([]string{"localhost"})
				require.NoError(t, err)
				return c
			},
			code: transport.Unauthorized, reason: "certificate",
		},
		"none": {
			credentials: func(t *testing.T, n *transporttest.Network) *certs.Credentials {
				return &certs.Credentials{Authority: n.Authority().Certificate()}
			},
			code: transport.Unauthorized, reason: "certificate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				var asked counter
				cred := row.credentials(t, n)
				srv := n.Listen(transport.Config{Authorize: func(context.Context, transport.Peer) error {
					asked.Add(1)
					return nil
				}})
				s, err := n.TryDial(t.Context(), srv, "", transport.Config{Credentials: cred})
				require.Nil(t, s)
				var e *transport.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, row.code, e.Code)
				assert.True(t, e.Remote, "the server decided it")
				assert.Equal(t, transport.ClassRefused, e.Code.Class())
				assert.Contains(t, e.Reason, row.reason)
				synctest.Wait()
				assert.Empty(t, srv.Sessions())
				assert.Zero(t, asked.Load())
				// And the server goes on.
				n.Dial(srv, "bob", transport.Config{})
			})
		})
	}
}

func TestS1WhoMayNotOpenASessionIsToldWhy(t *testing.T) {
	for name, row := range map[string]struct {
		refusal error
		want    transport.Error
	}{
		"with a code":    {&transport.Error{Code: transport.Revoked, Reason: "revoked last week"}, transport.Error{Code: transport.Revoked, Reason: "revoked last week"}},
		"without a code": {errors.New("secret reason"), transport.Error{Code: transport.Unauthorized, Reason: "may not open a session"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Authorize: func(_ context.Context, p transport.Peer) error {
					if p.ID.Name == "mallory" {
						return row.refusal
					}
					return nil
				}})
				s, err := n.TryDial(t.Context(), srv, "mallory", transport.Config{})
				require.Nil(t, s)
				var e *transport.Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, row.want.Code, e.Code)
				assert.Equal(t, row.want.Reason, e.Reason)
				assert.True(t, e.Remote)
				synctest.Wait()
				assert.Empty(t, srv.Sessions())
				n.Dial(srv, "alice", transport.Config{})
			})
		})
	}
}

func TestClientRefusesAServerOfAnotherAuthority(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		cred := *n.User("alice")
		cred.Authority = transporttest.New(t, rtt).Authority().Certificate()
		_, err := n.TryDial(t.Context(), srv, "", transport.Config{Credentials: &cred})
		var e *transport.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, transport.Unauthorized, e.Code)
		assert.False(t, e.Remote, "this side decided it")
		var v *certs.VerifyError
		require.ErrorAs(t, err, &v)
		assert.Equal(t, certs.UnknownAuthority, v.Reason)
	})
}

func TestDialFindsNobody(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		n.Cut()
		_, err := n.TryDial(t.Context(), srv, "alice", transport.Config{})
		code, ok := transport.CodeOf(err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, transport.Lost, code)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.TryDial(ctx, srv, "alice", transport.Config{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A server that accepts the handshake and then says nothing is not a session, and Dial ends.
func TestS1DialNeedsWelcome(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		hang := make(chan struct{})
		srv := n.Listen(transport.Config{Authorize: func(ctx context.Context, _ transport.Peer) error {
			<-hang
			return nil
		}})
		defer close(hang)
		start := time.Now()
		_, err := n.TryDial(t.Context(), srv, "alice", transport.Config{})
		require.Error(t, err)
		assert.Less(t, time.Since(start), 16*time.Second)
	})
}

func TestWrongALPN(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		cfg := transport.ClientTLS(&transport.Config{Credentials: n.User("alice")})
		cfg.NextProtos = []string{"h3"}
		pc := n.Conn()
		defer pc.Close()
		err := dialTLS(t, pc, srv, cfg)
		var e *quic.TransportError
		require.True(t, errors.As(err, &e), "%v", err) //nolint:testifylint // ErrorAs trips over quic-go's nil causes
		assert.Equal(t, quic.TransportErrorCode(0x178), e.ErrorCode, "no_application_protocol")
		requireEcho(t, n.Dial(srv, "bob", transport.Config{}))
	})
}

func TestMalformedGreetings(t *testing.T) {
	frame := transport.AppendFrame
	for name, row := range map[string]struct {
		bytes []byte
		code  transport.CloseCode
	}{
		"another stream first":      {[]byte{0x01, 0x01, 0x00}, transport.Protocol},
		"another frame first":       {frame([]byte{0x00}, 0x0d, nil), transport.Protocol},
		"an unknown odd frame":      {frame([]byte{0x00}, 0x7001, nil), transport.Protocol},
		"HELLO that is no protobuf": {frame([]byte{0x00}, 0x01, []byte{0xff, 0xff}), transport.Protocol},
		"HELLO without an id":       {frame([]byte{0x00}, 0x01, nil), transport.Protocol},
		"attempt 0":                 {hello(1, 0), transport.Protocol},
		"HELLO over the limit":      {transport.AppendFrameHeader([]byte{0x00}, 0x01, transport.MaxControlFrame+1), transport.FrameTooLarge},
		"nothing":                   {nil, transport.HelloTimeout},
		"half of HELLO":             {hello(1, 1)[:20], transport.HelloTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				bob := n.Dial(srv, "bob", transport.Config{})
				p := dialRaw(t, n, srv, "alice")
				if row.bytes != nil {
					p.control(row.bytes)
				}
				p.requireClosed(row.code)
				requireEcho(t, bob) // it is nobody else's trouble
				assert.Len(t, srv.Sessions(), 1)
			})
		})
	}
}

func TestFaultsOnTheControlStream(t *testing.T) {
	frame := transport.AppendFrame
	for name, row := range map[string]struct {
		do   func(p *rawPeer)
		code transport.CloseCode
	}{
		"HELLO again":          {func(p *rawPeer) { p.control(hello(1, 1)[1:]) }, transport.Protocol},
		"an unknown odd frame": {func(p *rawPeer) { p.control(frame(nil, 0x7001, nil)) }, transport.Protocol},
		"over the limit":       {func(p *rawPeer) { p.control(transport.AppendFrameHeader(nil, 0x0d, 1<<20)) }, transport.FrameTooLarge},
		"DISCONNECT":           {func(p *rawPeer) { p.control(frame(nil, 0x0b, nil)) }, transport.Protocol},
		"FINISH without mode":  {func(p *rawPeer) { p.control(frame(nil, 0x07, nil)) }, transport.Protocol},
		"FIN":                  {func(p *rawPeer) { _ = p.ctl.Close() }, transport.ClosedCriticalStream},
		"reset":                {func(p *rawPeer) { p.ctl.CancelWrite(0) }, transport.ClosedCriticalStream},
		"FIN inside a frame":   {func(p *rawPeer) { p.control([]byte{0x0d}); _ = p.ctl.Close() }, transport.Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo)})
				bob := n.Dial(srv, "bob", transport.Config{})
				p := dialRaw(t, n, srv, "alice")
				p.control(hello(1, 1))
				p.readWelcome()
				p.control(frame(nil, 0x7000, []byte("unknown and even: skipped")))
				row.do(p)
				p.requireClosed(row.code)
				requireEcho(t, bob)
			})
		})
	}
}

func TestMaxSessionsRefusesTheNewcomer(t *testing.T) { // S5
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{MaxSessions: 2, Handlers: on(echo)})
		alice := n.Dial(srv, "alice", transport.Config{})
		bob := n.Dial(srv, "bob", transport.Config{})
		_, err := n.TryDial(t.Context(), srv, "carol", transport.Config{})
		code, _ := transport.CodeOf(err)
		require.Equal(t, transport.ExcessiveLoad, code)

		// A detached session makes room; a live one never does.
		bob.Abort(transport.Aborted, "")
		synctest.Wait()
		carol := n.Dial(srv, "carol", transport.Config{})
		requireEcho(t, alice)
		requireEcho(t, carol)
		assert.Len(t, srv.Sessions(), 2)
	})
}
