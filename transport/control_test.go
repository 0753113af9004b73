package transport_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/trunkline-go/trunkline/transport"
)

// The control frames, byte by byte. A row is never changed once released.
func TestGoldenControlFrames(t *testing.T) {
	id, key := [16]byte{1}, [16]byte{2}
	zeros := strings.Repeat("00", 15)
	for want, got := range map[string][]byte{
		// HELLO
		"0129" + "0a0163" + "1a10" + "01" + zeros + "2210" + "02" + zeros + "2803": transport.AppendHello("c", id, key, 3),
		// WELCOME
		"030e" + "0801" + "1a0169" + "2a0408b0ea01" + "320173": transport.AppendWelcome(true, "", "i", "s", 30_000),
		"030b" + "120177" + "1a0169" + "2a00" + "320173":       transport.AppendWelcome(false, "w", "i", "s", 0),
		// GOAWAY
		"0500": transport.AppendGoAway(0, 0, 0, ""),
		"050c" + "0804" + "10e807" + "18904e" + "22026279": transport.AppendGoAway(4, 1000, 10_000, "by"),
		// FINISH
		"0702" + "0801":          transport.AppendFinish(1, 0),
		"0704" + "0802" + "1008": transport.AppendFinish(2, 8),
		"0704" + "0801" + "1801": transport.AppendForcedFinish(),
		// NOT_FINISHED
		"0904" + "0a026e6f": transport.AppendNotFinished("no"),
		// DISCONNECT
		"0b00":          transport.AppendDisconnect(0),
		"0b02" + "0805": transport.AppendDisconnect(5),
		// PING, PONG
		"0d32" + "0a30" + strings.Repeat("00", 48): transport.AppendPing(transport.PingPadding),
		"0f00": transport.AppendPong(),
	} {
		assert.Equal(t, want, hex.EncodeToString(got))
	}
}
