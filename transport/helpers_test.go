package transport_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const rtt = 20 * time.Millisecond

// bubble runs a test on a network in memory with a fake clock.
func bubble(t *testing.T, test func(t *testing.T, n *transporttest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, transporttest.New(t, rtt)) })
}

// echo serves streams by sending back what arrives.
func echo(_ context.Context, s *transport.Stream) {
	if _, err := io.Copy(s, s); err == nil {
		_ = s.Close()
	}
}

// on serves rpc streams with h.
func on(h transport.Handler) map[transport.StreamType]transport.Handler {
	return map[transport.StreamType]transport.Handler{transport.StreamRPC: h}
}

// say sends text on a new stream and returns what comes back.
func say(ctx context.Context, s *transport.Session, text string) (string, error) {
	str, err := s.OpenStream(ctx, transport.StreamRPC)
	if err != nil {
		return "", err
	}
	defer str.Cancel(transport.StreamCanceled)
	if _, err := io.WriteString(str, text); err != nil {
		return "", err
	}
	if err := str.Close(); err != nil {
		return "", err
	}
	back, err := io.ReadAll(str)
	return string(back), err
}

// requireEcho shows that the session works.
func requireEcho(t *testing.T, s *transport.Session) {
	t.Helper()
	back, err := say(t.Context(), s, "hello")
	require.NoError(t, err)
	require.Equal(t, "hello", back)
}

// requireEnd waits for the end of s and checks how it came about.
func requireEnd(t *testing.T, s *transport.Session, code transport.CloseCode, remote bool) {
	t.Helper()
	err := s.Wait(t.Context())
	if code == transport.Released {
		require.NoError(t, err)
		return
	}
	var e *transport.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, "%v", e)
	require.Equal(t, remote, e.Remote, "%v", e)
	require.ErrorIs(t, err, net.ErrClosed)
}

// A rawPeer is a client that speaks QUIC and mutual TLS, and on the control stream
// says only what a test makes it say.
type rawPeer struct {
	t    *testing.T
	conn *quic.Conn
	ctl  *quic.Stream
}

// dialRaw connects to srv as the user called name.
func dialRaw(t *testing.T, n *transporttest.Network, srv *transport.Server, name string) *rawPeer {
	t.Helper()
	cfg := &transport.Config{Credentials: n.User(name)}
	return dialRawConfig(t, n, srv, cfg)
}

func dialRawConfig(t *testing.T, n *transporttest.Network, srv *transport.Server, cfg *transport.Config) *rawPeer {
	t.Helper()
	pc := n.Conn()
	tr := &quic.Transport{Conn: pc}
	t.Cleanup(func() { _ = tr.Close(); _ = pc.Close() })
	conn, err := tr.Dial(t.Context(), srv.Addr(), transport.ClientTLS(cfg), transport.QUICConfig(cfg))
	require.NoError(t, err)
	return &rawPeer{t: t, conn: conn}
}

// dialTLS connects with a TLS configuration of the test's, and returns why it could not.
func dialTLS(t *testing.T, pc net.PacketConn, srv *transport.Server, cfg *tls.Config) error {
	t.Helper()
	tr := &quic.Transport{Conn: pc}
	defer tr.Close()
	conn, err := tr.Dial(t.Context(), srv.Addr(), cfg, &quic.Config{})
	if err == nil {
		_ = conn.CloseWithError(0, "")
	}
	return err
}

// control opens the control stream and writes b on it.
func (p *rawPeer) control(b []byte) {
	p.t.Helper()
	if p.ctl == nil {
		var err error
		p.ctl, err = p.conn.OpenStream()
		require.NoError(p.t, err)
	}
	_, err := p.ctl.Write(b)
	require.NoError(p.t, err)
}

// requireClosed waits for the server to close the connection with code.
func (p *rawPeer) requireClosed(code transport.CloseCode) {
	p.t.Helper()
	<-p.conn.Context().Done()
	var e *quic.ApplicationError
	require.ErrorAs(p.t, context.Cause(p.conn.Context()), &e)
	require.True(p.t, e.Remote)
	require.Equal(p.t, code, transport.CloseCode(e.ErrorCode), e.ErrorMessage)
}

// hello is a HELLO frame behind the type of the control stream; id and key are two times 16 bytes of fill.
func hello(fill byte, attempt byte) []byte {
	body := []byte{0x1a, 16}
	for range 16 {
		body = append(body, fill)
	}
	body = append(body, 0x22, 16)
	for range 16 {
		body = append(body, fill)
	}
	body = append(body, 0x28, attempt)
	return transport.AppendFrame([]byte{0x00}, 0x01, body)
}

// readWelcome reads until WELCOME has come.
func (p *rawPeer) readWelcome() {
	p.t.Helper()
	typ, _, err := transport.NewFrameReader(p.ctl).ReadFrame(func(transport.FrameType) (uint64, bool) { return 1 << 14, true })
	require.NoError(p.t, err)
	require.Equal(p.t, transport.FrameType(0x03), typ)
}

// counter counts from any goroutine.
type counter struct{ atomic.Int64 }
