package chat

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/transport"
)

// Frames of the chat stream. All are odd: a peer must understand them, if only because
// it must count them (see RECEIVED). The bodies are the protobuf messages of
// internal/chatpb/chat.proto. 0x19 and up are free, for the floor and synchronization points.
const (
	// Client to server.
	frameJoin     transport.FrameType = 0x01
	frameLeave    transport.FrameType = 0x03
	framePublish  transport.FrameType = 0x05
	frameReceived transport.FrameType = 0x07

	// Server to client: replies, which may overtake events.
	frameJoined   transport.FrameType = 0x09
	frameLeft     transport.FrameType = 0x0b
	frameRejected transport.FrameType = 0x0d
	framePubAck   transport.FrameType = 0x0f

	// Server to client: events, which count against the credit.
	frameRecord   transport.FrameType = 0x11
	frameOwn      transport.FrameType = 0x13
	framePresence transport.FrameType = 0x15
	frameMembers  transport.FrameType = 0x17
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

	// maxSmall bounds the body of JOIN, LEAVE and RECEIVED. It leaves room for names that are
	// too long to be valid: they fail their request, not the session.
	maxSmall = 4 << 10
	// maxHeader is the longest header of a frame.
	maxHeader = transport.MaxFrameHeader
	// maxReply bounds what a client reads: JOINED and MEMBERS list a room's members.
	maxReply = 4 << 20
)

// maxPublish bounds the body of PUBLISH. As for names, what is a little too long
// fails its request alone.
func maxPublish(maxBody int) uint64 { return 2*uint64(maxBody) + maxSmall }

// serverLimit gives the frames that a server accepts.
func serverLimit(maxBody int) transport.FrameLimit {
	return func(t transport.FrameType) (uint64, bool) {
		switch t {
		case frameJoin, frameLeave, frameReceived:
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
	case frameJoined, frameLeft, frameRejected, framePubAck, frameRecord, frameOwn, framePresence, frameMembers:
		return maxReply, true
	}
	return 0, false
}

// counts says whether a frame counts against the credit.
func counts(t transport.FrameType) bool {
	switch t {
	case frameRecord, frameOwn, framePresence, frameMembers:
		return true
	}
	return false
}

// appendMessage appends a whole frame with message m.
func appendMessage(dst []byte, t transport.FrameType, m proto.Message) []byte {
	n := proto.Size(m)
	dst = transport.AppendFrameHeader(dst, t, n)
	dst, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(dst, m)
	if err != nil { // only for strings that are not UTF-8, and we send none
		panic(fmt.Sprintf("chat: marshal frame %#x: %v", uint64(t), err))
	}
	return dst
}

// malformedError is a peer's break of the protocol. It ends the session with Protocol.
type malformedError struct{ reason string }

func (e *malformedError) Error() string { return e.reason }

func malformed(format string, args ...any) error {
	return &malformedError{reason: fmt.Sprintf(format, args...)}
}

// unmarshal decodes the body of a frame.
func unmarshal(t transport.FrameType, body []byte, m proto.Message) error {
	if err := proto.Unmarshal(body, m); err != nil {
		return malformed("malformed chat frame %#x", uint64(t))
	}
	return nil
}

// recordMessage returns the body of rec's RECORD frame.
func recordMessage(room []byte, rec *Record) *chatpb.Record {
	return &chatpb.Record{
		Room:      room,
		Epoch:     rec.Epoch,
		Seq:       rec.Seq,
		From:      rec.From,
		Time:      rec.Time.UnixNano(),
		MessageId: []byte(rec.ID),
		Body:      rec.Body,
	}
}

// ownMessage returns the body of the stub for the session that published the record.
func ownMessage(room []byte, pos Position, id string) *chatpb.Own {
	return &chatpb.Own{Room: room, Epoch: pos.Epoch, Seq: pos.Seq, MessageId: []byte(id)}
}
