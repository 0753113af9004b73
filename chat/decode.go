package chat

import (
	"math"
	"time"

	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// How a client turns frames into events, and checks their order.

// decode turns a frame into an event, or none, and checks that it is in order.
func (c *Client) decode(t transport.FrameType, body []byte) (Event, error) {
	switch t {
	case frameJoined:
		return c.joined(body)
	case frameLeft:
		var m chatpb.Left
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		r, err := c.inRoom(t, m.GetRoom())
		if err != nil {
			return nil, err
		}
		delete(c.rooms, r.name)
		return &Left{Room: r.name}, nil
	case frameRejected:
		return c.rejected(body)
	case framePubAck:
		var m chatpb.PubAck
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		return c.sent(string(m.GetRoom()), string(m.GetMessageId()), Position{m.GetEpoch(), m.GetSeq()}, m.GetDuplicate()), nil
	case frameRecord:
		return c.record(body)
	case frameOwn:
		var m chatpb.Own
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		pos := Position{m.GetEpoch(), m.GetSeq()}
		r, err := c.advance(t, m.GetRoom(), pos)
		if err != nil {
			return nil, err
		}
		return c.sent(r.name, string(m.GetMessageId()), pos, false), nil
	case framePresence:
		var m chatpb.Presence
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		r, err := c.inRoom(t, m.GetRoom())
		if err != nil {
			return nil, err
		}
		state, ok := presenceFromWire(m.GetState())
		if !ok {
			return nil, nil // a later version's; it is no state that this one knows
		}
		return &Presence{Room: r.name, Who: m.GetWho(), State: state}, nil
	case frameMembers:
		var m chatpb.Members
		if err := unmarshal(t, body, &m); err != nil {
			return nil, err
		}
		r, err := c.inRoom(t, m.GetRoom())
		if err != nil {
			return nil, err
		}
		return &Members{Room: r.name, Names: m.GetMembers()}, nil
	}
	return nil, malformed("chat frame %#x is out of place", uint64(t))
}

// sent returns the event for an acknowledgement, unless it was there before: a nil Event.
func (c *Client) sent(room, id string, pos Position, duplicate bool) Event {
	unsure := c.unsure[id] == room && room != ""
	if unsure {
		delete(c.unsure, id)
	}
	if !c.answered(room, id) && !unsure {
		return nil
	}
	return &Sent{Room: room, Position: pos, ID: id, Duplicate: duplicate}
}

func (c *Client) joined(body []byte) (Event, error) {
	var m chatpb.Joined
	if err := unmarshal(frameJoined, body, &m); err != nil {
		return nil, err
	}
	room := string(m.GetRoom())
	if _, in := c.rooms[room]; in || !c.joinAnswered(room) {
		return nil, malformed("JOINED without JOIN")
	}
	if next := m.GetNext(); next == 0 || next < m.GetFirst() || m.GetHead() == math.MaxUint64 || next > m.GetHead()+1 {
		return nil, malformed("JOINED begins at %d, the log has %d to %d", next, m.GetFirst(), m.GetHead())
	}
	c.rooms[room] = &clientRoom{name: room, next: m.GetNext()}
	return &Joined{Room: room, Epoch: m.GetEpoch(), Head: m.GetHead(), First: m.GetFirst(), Next: m.GetNext(), Members: m.GetMembers()}, nil
}

func (c *Client) rejected(body []byte) (Event, error) {
	var m chatpb.Rejected
	if err := unmarshal(frameRejected, body, &m); err != nil {
		return nil, err
	}
	room, id := string(m.GetRoom()), string(m.GetMessageId())
	request, ok := requestFromWire(m.GetRequest())
	switch {
	case !ok:
		return nil, nil // of a request that this version does not make
	case request == RequestPublish:
		if !c.answered(room, id) {
			return nil, nil
		}
		if rpc.Code(m.GetCode()) == rpc.Unavailable && len(c.unsure) < cap(c.slots) {
			// Should it be in the log, its stub tells: a position must not be passed over (C4).
			if c.unsure == nil {
				c.unsure = make(map[string]string)
			}
			c.unsure[id] = room
		}
	case request == RequestJoin:
		_, in := c.rooms[room]
		if in && rpc.Code(m.GetCode()) == rpc.OutOfRange { // a JOIN of a room that is joined is refused otherwise
			delete(c.rooms, room)
		} else if !c.joinAnswered(room) {
			return nil, malformed("REJECTED without JOIN")
		}
	}
	return &Rejected{
		Room:    room,
		Request: request,
		ID:      id,
		Code:    rpc.Code(m.GetCode()),
		Reason:  m.GetReason(),
		Epoch:   m.GetEpoch(),
		Head:    m.GetHead(),
		First:   m.GetFirst(),
	}, nil
}

func (c *Client) record(body []byte) (Event, error) {
	var m chatpb.Record
	if err := unmarshal(frameRecord, body, &m); err != nil {
		return nil, err
	}
	pos := Position{m.GetEpoch(), m.GetSeq()}
	r, err := c.advance(frameRecord, m.GetRoom(), pos)
	if err != nil {
		return nil, err
	}
	return &Message{
		Room:     r.name,
		Position: pos,
		From:     m.GetFrom(),
		Time:     time.Unix(0, m.GetTime()).UTC(),
		ID:       string(m.GetMessageId()),
		Text:     string(m.GetBody()),
	}, nil
}

// advance checks that pos is the one that comes next in room (C4).
func (c *Client) advance(t transport.FrameType, room []byte, pos Position) (*clientRoom, error) {
	r, err := c.inRoom(t, room)
	if err != nil {
		return nil, err
	}
	if pos.Seq != r.next || pos.Epoch < r.last.Epoch || pos.Epoch == 0 {
		return nil, malformed("record %v follows %v, where %d was to come", pos, r.last, r.next)
	}
	r.next++
	r.last = pos
	return r, nil
}

// inRoom returns a room that has been joined.
func (c *Client) inRoom(t transport.FrameType, room []byte) (*clientRoom, error) {
	r := c.rooms[string(room)]
	if r == nil {
		return nil, malformed("chat frame %#x for a room that is not joined", uint64(t))
	}
	return r, nil
}
