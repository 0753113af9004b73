package transport

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/transport/internal/enrollpb"
)

func udp(ip string) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 1))
}

// The bytes of each frame; never edited once released.
func TestEnrolmentFramesAreGolden(t *testing.T) {
	assert.Equal(t, []byte{0x01, 0x15, 0x0a, 0x10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0x12, 0x01, 0x07},
		appendMessage(nil, frameEnroll, &enrollpb.Enroll{Secret: bytes.Repeat([]byte{1}, 16), Request: []byte{7}}))
	assert.Equal(t, []byte{0x03, 0x06, 0x0a, 0x01, 0x08, 0x0a, 0x01, 0x09},
		appendMessage(nil, frameIssued, &enrollpb.Issued{Chain: [][]byte{{8}, {9}}}))
	assert.Equal(t, []byte{0x05, 0x02, 0x08, 0x02}, appendMessage(nil, frameRefused, &enrollpb.Refused{Why: enrollpb.Refused_WHY_USED}))
}

func TestEveryTokenReasonCrossesTheWire(t *testing.T) {
	for why := certs.TokenWrong; why <= certs.TokenRevoked; why++ {
		e := &certs.TokenError{Reason: why}
		assert.Equal(t, e, refusedError(&enrollpb.Refused{Why: refusalOf(e)}))
	}
	assert.Equal(t, enrollpb.Refused_WHY_INTERNAL, refusalOf(&certs.TokenError{}))
	assert.Error(t, refusedError(&enrollpb.Refused{Why: 77}))
}

func TestAttemptsAreCountedByNetworkAndInAll(t *testing.T) {
	now := time.Now()
	var a attempts
	for n := range attemptBurst {
		require.True(t, a.take(udp("2001:db8::1"), now), n)
	}
	assert.False(t, a.take(udp("2001:db8::2"), now), "the same /64")
	assert.True(t, a.take(udp("2001:db8:0:1::1"), now))
	assert.True(t, a.take(udp("192.0.2.1"), now))
	assert.False(t, a.take(udp("2001:db8::1"), now.Add(attemptEvery-time.Millisecond)))
	assert.True(t, a.take(udp("2001:db8::1"), now.Add(attemptEvery)))
	assert.False(t, a.take(udp("2001:db8::1"), now.Add(attemptEvery)))

	var all attempts
	taken := 0
	for i := range 500 {
		if all.take(udp(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()), now) {
			taken++
		}
	}
	assert.Equal(t, attemptBurstAll, taken)
	assert.True(t, all.take(udp("192.0.2.1"), now.Add(attemptEveryAll)))
}

// S5
func TestAttemptsFromManyAddressesTakeBoundedMemory(t *testing.T) {
	now := time.Now()
	var a attempts
	for i := range 10 * maxAttemptAddrs {
		now = now.Add(attemptEveryAll)
		a.take(udp(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()), now)
		require.LessOrEqual(t, len(a.byAddr), maxAttemptAddrs+1)
	}
	// Faster than they are forgotten: those who are not told apart share an allowance.
	a = attempts{}
	for i := range 2 * maxAttemptAddrs {
		a.all = bucket{}
		a.take(udp(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String()), now)
	}
	assert.Len(t, a.byAddr, maxAttemptAddrs+1)
	a.all = bucket{}
	assert.False(t, a.take(udp("192.0.2.1"), now))
}

func FuzzEnroll(f *testing.F) {
	ok := appendMessage(nil, frameEnroll, &enrollpb.Enroll{Secret: make([]byte, 16), Request: []byte("request")})
	for _, b := range [][]byte{{}, ok, ok[:5], append(slices.Clip(ok), ok...), {0x01, 0x7f, 0xff}, {0x02, 0x00, 0x01, 0x00}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewFrameReader(bytes.NewReader(b))
		defer r.free()
		req, err := parseEnroll(r)
		if err != nil {
			return
		}
		if len(req.Request) > maxEnroll {
			t.Fatalf("%d bytes", len(req.Request))
		}
		again := NewFrameReader(bytes.NewReader(appendMessage(nil, frameEnroll, &enrollpb.Enroll{Secret: req.Secret[:], Request: req.Request})))
		defer again.free()
		back, err := parseEnroll(again)
		require.NoError(t, err)
		require.Equal(t, req.Secret, back.Secret)
		require.True(t, bytes.Equal(req.Request, back.Request))
	})
}

func FuzzEnrolled(f *testing.F) {
	a, err := certs.NewAuthority(certs.Env{})
	require.NoError(f, err)
	issued, err := proto.Marshal(&enrollpb.Issued{Chain: [][]byte{a.Certificate().Raw}})
	require.NoError(f, err)
	f.Add(true, issued)
	f.Add(true, []byte{})
	f.Add(false, []byte{0x08, 0x02})
	f.Add(false, []byte{0x08, 0x7f})
	f.Fuzz(func(t *testing.T, isIssued bool, body []byte) {
		typ := frameRefused
		if isIssued {
			typ = frameIssued
		}
		chain, err := parseEnrolled(typ, body)
		if (len(chain) == 0) != (err != nil) || len(chain) > maxChain {
			t.Fatalf("%d certificates, error %v", len(chain), err)
		}
	})
}
