package chat

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/transport"
)

// Frames of the chat stream. All are odd: a peer must understand them, if only because
// it must count them (see RECEIVED). The bodies are the protobuf messages of
// internal/chatpb/chat.proto. 0x17, 0x19, and 0x1f and up are free.
const (
	// Client to server.
	frameJoin     transport.FrameType = 0x01
	frameLeave    transport.FrameType = 0x03
	framePublish  transport.FrameType = 0x05
	frameReceived transport.FrameType = 0x07
	frameSignal   transport.FrameType = 0x1b
	frameMark     transport.FrameType = 0x1f

	// Server to client: replies, which may overtake events.
	frameJoined   transport.FrameType = 0x09
	frameLeft     transport.FrameType = 0x0b
	frameRejected transport.FrameType = 0x0d
	framePubAck   transport.FrameType = 0x0f

	// Server to client: events, which count against the credit.
	frameRecord   transport.FrameType = 0x11
	framePresence transport.FrameType = 0x13
	frameMembers  transport.FrameType = 0x15
	frameMarks    transport.FrameType = 0x21

	// Server to client: what is lost when it does not come through, and does not count.
	frameSignaled transport.FrameType = 0x1d
)

const (
	// creditWindow is how many bytes of events may be on their way beyond what the client has
	// confirmed with RECEIVED. The bound is ours, not QUIC's, whose windows the peer sets. It is
	// less than a stream's first window (256 KiB), headers included, so that a reader which
	// stalls uses up its credit, and does not block a writer.
	creditWindow = 192 << 10
	// confirmEvery and confirmAfter are when a client sends RECEIVED: after so many
	// bytes, or when something has been unconfirmed for so long.
	confirmEvery = 64 << 10
	confirmAfter = time.Second

	// maxSmall bounds the body of JOIN, LEAVE, RECEIVED, SIGNAL and MARK. It leaves room for names that are
	// too long to be valid: they fail their request, not the session.
	maxSmall = 4 << 10
	// maxEntries is how many bytes of entries a client puts into one PUBLISH, if it is more than one.
	maxEntries = 64 << 10
	// maxUnacknowledged is how many answers a client may be owed. With what a rejection has beside the
	// longest names that is less than maxReplies and maxReplyBytes, for one PUBLISH can ask for them all at once.
	maxUnacknowledged = 2048
	// maxHeader is the longest header of a frame.
	maxHeader = transport.MaxFrameHeader
	// maxReply bounds what a client reads: JOINED and MEMBERS list a room's members.
	maxReply = 4 << 20
)

// maxPublish bounds the body of PUBLISH: many small entries, or one that is a little too long, which as
// for names fails alone.
func maxPublish(maxBody int) uint64 { return maxEntries + 2*uint64(maxBody) + maxSmall }

// serverLimit gives the frames that a server accepts.
func serverLimit(maxBody int) transport.FrameLimit {
	return func(t transport.FrameType) (uint64, bool) {
		switch t {
		case frameJoin, frameLeave, frameReceived, frameSignal, frameMark:
			return maxSmall, true
		case framePublish:
			return maxPublish(maxBody), true
		}
		return 0, false
	}
}

// clientLimit gives the frames that a client accepts.
func clientLimit(t transport.FrameType) (uint64, bool) {
	switch t {
	case frameJoined, frameLeft, frameRejected, framePubAck, frameRecord, framePresence, frameMembers, frameMarks, frameSignaled:
		return maxReply, true
	}
	return 0, false
}

// counts says whether a frame counts against the credit.
func counts(t transport.FrameType) bool {
	switch t {
	case frameRecord, framePresence, frameMembers, frameMarks:
		return true
	}
	return false
}

// appendMessage appends a whole frame with message m.
func appendMessage(dst []byte, t transport.FrameType, m proto.Message) []byte {
	n := proto.Size(m)
	dst = transport.AppendFrameHeader(dst, t, n)
	dst, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(dst, m)
	if err != nil { // only for strings that are not UTF-8, which validUTF8 keeps out
		panic(fmt.Sprintf("chat: marshal frame %#x: %v", uint64(t), err))
	}
	return dst
}

// validUTF8 makes what a log has said fit for a field of type string.
func validUTF8(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// malformedError is a peer's break of the protocol. It ends the session with Protocol.
type malformedError struct{ reason string }

func (e *malformedError) Error() string { return e.reason }

func malformed(format string, args ...any) error {
	return &malformedError{reason: fmt.Sprintf(format, args...)}
}

// unmarshal decodes the body of a frame.
func unmarshal(t transport.FrameType, body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return malformedFrame(t)
	}
	return nil
}

func malformedFrame(t transport.FrameType) error {
	return malformed("malformed chat frame %#x", uint64(t))
}
