package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
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

// listenHome starts a server on a home of its own.
func listenHome(t *testing.T, n *transporttest.Network, cfg transport.Config) (*certs.Home, *transport.Server) {
	t.Helper()
	home, err := certs.OpenHome(filepath.Join(t.TempDir(), "server"), certs.Env{})
	require.NoError(t, err)
	require.NoError(t, home.Init(nil, "alice"))
	cfg.Credentials, err = home.ServerCredentials()
	require.NoError(t, err)
	if cfg.Enroll == nil {
		cfg.Enroll = func(_ context.Context, r *transport.EnrollRequest) ([]*x509.Certificate, error) {
			return home.Redeem(r.Secret, r.Request)
		}
	}
	return home, n.Listen(cfg)
}

func invite(t *testing.T, home *certs.Home, name string) certs.Token {
	t.Helper()
	inv, err := home.Invite(name, certs.InviteOptions{AddDevice: true})
	require.NoError(t, err)
	return inv.Token
}

// startJoin begins to join in a home at dir.
func startJoin(t *testing.T, dir string, token certs.Token) (*certs.Home, *certs.Joining, *transport.EnrollRequest) {
	t.Helper()
	home, err := certs.OpenHome(dir, certs.Env{})
	require.NoError(t, err)
	j, err := home.StartJoin(token)
	require.NoError(t, err)
	csr, err := j.Request()
	require.NoError(t, err)
	return home, j, &transport.EnrollRequest{Secret: token.Secret, Request: csr}
}

func enroll(ctx context.Context, n *transporttest.Network, srv *transport.Server, cred *certs.Credentials, req *transport.EnrollRequest) ([]*x509.Certificate, error) {
	return transport.Enroll(ctx, srv.Addr().String(), &transport.Config{Credentials: cred, PacketConn: n.Conn()}, req)
}

// pin trusts the authority of the network, and presents nothing.
func pin(n *transporttest.Network) *certs.Credentials {
	return &certs.Credentials{AuthorityKey: certs.FingerprintOf(n.Authority().Certificate())}
}

func TestWhoEnrollsCanOpenASession(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		server, srv := listenHome(t, n, transport.Config{Handlers: on(echo)})
		home, j, req := startJoin(t, t.TempDir(), invite(t, server, "bob"))
		chain, err := enroll(t.Context(), n, srv, j.Credentials(), req)
		require.NoError(t, err)
		id, err := j.Finish(chain)
		require.NoError(t, err)
		assert.Equal(t, "bob", id.Name)
		cred, err := home.UserCredentials("")
		require.NoError(t, err)
		s := n.Dial(srv, "", transport.Config{Credentials: cred})
		assert.Equal(t, id, s.Identity())
		requireEcho(t, s)
	})
}

// M46
func TestTheSecretIsShownOnlyToTheServerOfTheAuthority(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		other, err := certs.NewAuthority(certs.Env{})
		require.NoError(t, err)
		stranger, err := other.IssueServer(nil)
		require.NoError(t, err)
		// The right authority, behind a leaf that it did not sign.
		borrowed := *stranger
		borrowed.Certificate.Certificate = [][]byte{stranger.Certificate.Certificate[0], n.Authority().Certificate().Raw}
		for name, tt := range map[string]struct {
			cred *certs.Credentials
			why  certs.Reason
		}{
			"another authority's server":         {stranger, certs.UnknownAuthority},
			"another's with the right authority": {&borrowed, certs.UnknownAuthority},
			"a user of the authority":            {n.User("mallory"), certs.WrongPurpose},
		} {
			var asked counter
			srv := n.Listen(transport.Config{Credentials: tt.cred, Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
				asked.Add(1)
				return nil, errors.New("got the secret")
			}})
			_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
			var e *certs.VerifyError
			require.ErrorAs(t, err, &e, name)
			assert.Equal(t, tt.why, e.Reason, name)
			assert.Equal(t, e.Expected, certs.FingerprintOf(n.Authority().Certificate()), name)
			code, _ := transport.CodeOf(err)
			assert.Equal(t, transport.ClassRefused, code.Class(), name)
			assert.Zero(t, asked.Load(), name)
		}
	})
}

// M49
func TestWhoEnrollsIsToldWhatIsWrongWithTheToken(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var answer error
		srv := n.Listen(transport.Config{Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
			return nil, answer
		}})
		for _, why := range []certs.TokenReason{certs.TokenWrong, certs.TokenUsed, certs.TokenExpired, certs.TokenTaken, certs.TokenRevoked} {
			answer = fmt.Errorf("wrapped: %w", &certs.TokenError{Reason: why})
			_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
			assert.Equal(t, &certs.TokenError{Reason: why}, err)
		}
		for code, fault := range map[transport.CloseCode]error{
			transport.Protocol: fmt.Errorf("%w: its insides", certs.ErrRequest),
			transport.Internal: errors.New("home/invites, line 3: its insides"),
		} {
			answer = fault
			_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
			require.ErrorIs(t, err, &transport.Error{Code: code})
			assert.NotContains(t, err.Error(), "insides")
		}
		before := srv.Stats().Refused
		answer = nil // and no certificate
		_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Internal})
		assert.Equal(t, before, srv.Stats().Refused, "it was answered")
	})
}

func TestAnEnrollerThatPanicsHarmsNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
			panic("on purpose")
		}})
		s := n.Dial(srv, "alice", transport.Config{})
		_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Internal})
		requireEcho(t, s)
	})
}

func TestNobodyEnrollsWhereNobodyCan(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Unauthorized})
	})
}

// M48: the first answer is lost on its way; the certificate is not.
func TestAnEnrolmentWhoseAnswerWasLostIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var redeemed []*x509.Certificate
		var home *certs.Home
		var srv *transport.Server
		home, srv = listenHome(t, n, transport.Config{Enroll: func(_ context.Context, r *transport.EnrollRequest) ([]*x509.Certificate, error) {
			chain, err := home.Redeem(r.Secret, r.Request)
			if redeemed == nil {
				redeemed = chain
				n.Cut()
			}
			return chain, err
		}})
		token := invite(t, home, "bob")
		dir := t.TempDir()
		_, j, req := startJoin(t, dir, token)
		_, err := enroll(t.Context(), n, srv, j.Credentials(), req)
		require.ErrorIs(t, err, &transport.Error{Code: transport.Lost})
		require.Len(t, redeemed, 2)

		n.Drop(nil)
		_, j, req = startJoin(t, dir, token)
		chain, err := enroll(t.Context(), n, srv, j.Credentials(), req)
		require.NoError(t, err)
		assert.Equal(t, redeemed[0].Raw, chain[0].Raw)
		_, err = j.Finish(chain)
		require.NoError(t, err)
	})
}

// M48
func TestOfManyWhoEnrollWithOneTokenOneWins(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		home, srv := listenHome(t, n, transport.Config{})
		token := invite(t, home, "bob")
		const many = 5
		var won, used counter
		var wg sync.WaitGroup
		for range many {
			_, j, req := startJoin(t, t.TempDir(), token)
			wg.Go(func() {
				_, err := enroll(context.Background(), n, srv, j.Credentials(), req)
				var e *certs.TokenError
				switch {
				case err == nil:
					won.Add(1)
				case assert.ErrorAs(t, err, &e) && assert.Equal(t, certs.TokenUsed, e.Reason):
					used.Add(1)
				}
			})
		}
		wg.Wait()
		assert.Equal(t, int64(1), won.Load())
		assert.Equal(t, int64(many-1), used.Load())
	})
}

// dialEnroller connects as somebody without a certificate, and says only what a test makes it say.
func dialEnroller(t *testing.T, n *transporttest.Network, srv *transport.Server, protos ...string) (*rawPeer, error) {
	t.Helper()
	return dialEnrollerOn(t, n.Conn(), srv, protos...)
}

func dialEnrollerOn(t *testing.T, pc net.PacketConn, srv *transport.Server, protos ...string) (*rawPeer, error) {
	t.Helper()
	tr := &quic.Transport{Conn: pc}
	t.Cleanup(func() { _ = tr.Close(); _ = pc.Close() })
	conn, err := tr.Dial(t.Context(), srv.Addr(), &tls.Config{NextProtos: protos, InsecureSkipVerify: true}, &quic.Config{})
	if err != nil {
		return nil, err
	}
	return &rawPeer{t: t, conn: conn}, nil
}

// M45, M47
func TestAnEnrolmentCanDoNothingElse(t *testing.T) {
	ok := transport.AppendEnroll(make([]byte, 16), []byte("request"))
	for name, tt := range map[string]struct {
		code transport.CloseCode
		act  func(t *testing.T, p *rawPeer)
	}{
		"silence":        {transport.HelloTimeout, func(*testing.T, *rawPeer) {}},
		"silence midway": {transport.HelloTimeout, func(_ *testing.T, p *rawPeer) { p.control(ok[:5]) }},
		"no end":         {transport.HelloTimeout, func(_ *testing.T, p *rawPeer) { p.control(ok) }},
		"hello":          {transport.Protocol, func(_ *testing.T, p *rawPeer) { p.control(hello(1, 1)); _ = p.ctl.Close() }},
		"too large": {transport.FrameTooLarge, func(_ *testing.T, p *rawPeer) {
			p.control(transport.AppendFrameHeader(nil, 0x01, 9<<10))
		}},
		"short secret": {transport.Protocol, func(_ *testing.T, p *rawPeer) {
			p.control(transport.AppendEnroll(make([]byte, 15), nil))
			_ = p.ctl.Close()
		}},
		"twice":     {transport.Protocol, func(_ *testing.T, p *rawPeer) { p.control(append(slices.Clip(ok), ok...)) }},
		"truncated": {transport.Protocol, func(_ *testing.T, p *rawPeer) { p.control(ok[:5]); _ = p.ctl.Close() }},
		"a second stream": {transport.Protocol, func(t *testing.T, p *rawPeer) {
			p.control(ok[:5])
			s, err := p.conn.OpenStream()
			require.NoError(t, err)
			_, _ = s.Write([]byte{0x01})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *transporttest.Network) {
				srv := n.Listen(transport.Config{Handlers: on(echo), Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
					t.Error("was asked for a certificate")
					return nil, errors.New("no")
				}})
				p, err := dialEnroller(t, n, srv, transport.ALPNEnroll)
				require.NoError(t, err)
				begin := time.Now()
				tt.act(t, p)
				p.requireClosed(tt.code)
				assert.LessOrEqual(t, time.Since(begin), 6*time.Second)
				synctest.Wait()
				assert.Empty(t, srv.Sessions())
				assert.Equal(t, map[transport.Ending]uint64{{Code: tt.code}: 1}, srv.Stats().Refused)
			})
		})
	}
}

// M45: who offers a session gets nothing without a certificate.
func TestWhoOffersBothProtocolsNeedsACertificate(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		for _, protos := range [][]string{{transport.ALPN, transport.ALPNEnroll}, {transport.ALPNEnroll, transport.ALPN}} {
			p, err := dialEnroller(t, n, srv, protos...)
			if err == nil {
				<-p.conn.Context().Done()
				err = context.Cause(p.conn.Context())
			}
			var e *quic.TransportError
			require.ErrorAs(t, err, &e)
			assert.True(t, e.ErrorCode.IsCryptoError(), "%v", e)
		}
	})
}

// M50
func TestAttemptsToEnrollAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		var asked counter
		srv := n.Listen(transport.Config{Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
			asked.Add(1)
			return nil, &certs.TokenError{Reason: certs.TokenWrong}
		}})
		addr := n.NewAddr()
		try := func() error {
			_, err := transport.Enroll(t.Context(), srv.Addr().String(),
				&transport.Config{Credentials: pin(n), PacketConn: n.ConnAt(addr)}, &transport.EnrollRequest{})
			return err
		}
		busy := &transport.Error{Code: transport.ExcessiveLoad}
		for range 10 {
			require.ErrorIs(t, try(), certs.ErrToken)
		}
		require.ErrorIs(t, try(), busy)
		assert.Equal(t, int64(10), asked.Load())
		assert.Equal(t, map[transport.Ending]uint64{{Code: transport.ExcessiveLoad}: 1}, srv.Stats().Refused)
		_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, certs.ErrToken, "another address")
		time.Sleep(6 * time.Second)
		require.ErrorIs(t, try(), certs.ErrToken)
		require.ErrorIs(t, try(), busy)
	})
}

// M50, S5
func TestThoseWhoEnrollAreBoundedInNumber(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo), Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
			return nil, &certs.TokenError{Reason: certs.TokenWrong}
		}})
		for range transport.MaxEnrolling {
			_, err := dialEnroller(t, n, srv, transport.ALPNEnroll)
			require.NoError(t, err)
		}
		time.Sleep(rtt)
		_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.ExcessiveLoad})
		requireEcho(t, n.Dial(srv, "alice", transport.Config{}))
		time.Sleep(6 * time.Second)
		_, err = enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, certs.ErrToken)
	})
}

// S5: who holds one address's part of the places does not keep others from joining, and has them again later.
func TestS5ThoseWhoEnrollFromOneAddress(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Enroll: func(context.Context, *transport.EnrollRequest) ([]*x509.Certificate, error) {
			return nil, &certs.TokenError{Reason: certs.TokenWrong}
		}})
		at := func(port int) *transport.Config {
			pc := n.ConnAt(&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: port})
			return &transport.Config{Credentials: pin(n), PacketConn: pc}
		}
		for i := range transport.MaxEnrolling {
			_, err := dialEnrollerOn(t, at(1+i).PacketConn, srv, transport.ALPNEnroll)
			require.NoError(t, err)
		}
		time.Sleep(rtt)
		_, err := enroll(t.Context(), n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, certs.ErrToken, "from another address")
		_, err = transport.Enroll(t.Context(), srv.Addr().String(), at(1000), &transport.EnrollRequest{})
		require.ErrorIs(t, err, &transport.Error{Code: transport.ExcessiveLoad})
		time.Sleep(6 * time.Second) // more than HelloTimeout
		_, err = transport.Enroll(t.Context(), srv.Addr().String(), at(1001), &transport.EnrollRequest{})
		require.ErrorIs(t, err, certs.ErrToken, "places that were given back")
	})
}

func TestAServerThatClosesEndsEnrolments(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Enroll: func(ctx context.Context, _ *transport.EnrollRequest) ([]*x509.Certificate, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
		done := make(chan error, 1)
		go func() {
			_, err := enroll(context.Background(), n, srv, pin(n), &transport.EnrollRequest{})
			done <- err
		}()
		time.Sleep(5 * rtt)
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-done, &transport.Error{Code: transport.Aborted})
	})
}

func TestEnrollEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Enroll: func(ctx context.Context, _ *transport.EnrollRequest) ([]*x509.Certificate, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := enroll(ctx, n, srv, pin(n), &transport.EnrollRequest{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A person is shown the chain of whoever is there.
func TestServerChainIsWhatTheServerPresents(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{})
		chain, err := transport.ServerChain(t.Context(), srv.Addr().String(), &transport.Config{PacketConn: n.Conn()})
		require.NoError(t, err)
		assert.Equal(t, n.Authority().Certificate(), certs.AuthorityOf(chain))
		n.Cut()
		_, err = transport.ServerChain(t.Context(), srv.Addr().String(), &transport.Config{PacketConn: n.Conn()})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Lost})
	})
}

// A session's server may be pinned by its authority's key alone.
func TestASessionWithAnAuthorityPinnedByItsKey(t *testing.T) {
	bubble(t, func(t *testing.T, n *transporttest.Network) {
		srv := n.Listen(transport.Config{Handlers: on(echo)})
		cred := *n.User("alice")
		cred.Authority, cred.AuthorityKey = nil, certs.FingerprintOf(n.Authority().Certificate())
		requireEcho(t, n.Dial(srv, "", transport.Config{Credentials: &cred}))
		cred.AuthorityKey[0] ^= 1
		_, err := n.TryDial(t.Context(), srv, "", transport.Config{Credentials: &cred})
		require.ErrorIs(t, err, &transport.Error{Code: transport.Unauthorized})
	})
}
