package chat

import (
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
)

// How a client is told who is in a room.

// maxList is how long a list of members may become over several frames, in bytes.
const maxList = 16 << 20

// A memberList is a list of members of which some are still to come.
type memberList struct {
	names []string
	more  uint64 // so many
	bytes int    // of the frames so far
}

// members follows MEMBERS. There is an event when the list is whole.
func (c *Client) members(body []byte) (Event, error) {
	var m chatpb.Members
	if err := unmarshal(frameMembers, body, &m); err != nil {
		return nil, err
	}
	r, err := c.inRoom(frameMembers, m.GetRoom())
	if err != nil {
		return nil, err
	}
	l := &r.list
	names, more := m.GetMembers(), m.GetMore()
	switch {
	case l.more > 0 && (more >= l.more || l.more-more != uint64(len(names))):
		return nil, malformed("MEMBERS goes on with %d names and %d more, where %d were to come", len(names), more, l.more)
	case more > 0 && len(names) == 0:
		return nil, malformed("MEMBERS names nobody of %d", more)
	case l.bytes+len(body) > maxList:
		return nil, malformed("MEMBERS has more than %d bytes", maxList)
	}
	l.names, l.more, l.bytes = append(l.names, names...), more, l.bytes+len(body)
	if more > 0 {
		return nil, nil
	}
	names = l.names
	*l = memberList{}
	return &Members{Room: r.name, Names: names}, nil
}

// presence follows PRESENCE, of one identity or of several.
func (c *Client) presence(body []byte) (Event, error) {
	var m chatpb.Presence
	if err := unmarshal(framePresence, body, &m); err != nil {
		return nil, err
	}
	r, err := c.inRoom(framePresence, m.GetRoom())
	if err != nil {
		return nil, err
	}
	if r.list.more > 0 {
		return nil, malformed("PRESENCE comes before the end of MEMBERS")
	}
	changes := make([]Presence, 0, 1+len(m.GetJoined())+len(m.GetLeft())+len(m.GetLost())+len(m.GetBack()))
	note := func(state PresenceState, names ...string) {
		for _, who := range names {
			changes = append(changes, Presence{Room: r.name, Who: who, State: state})
		}
	}
	if state, ok := presenceFromWire(m.GetState()); ok { // else it has none, or one that a later version knows
		note(state, m.GetWho())
	}
	note(PresenceJoined, m.GetJoined()...)
	note(PresenceBack, m.GetBack()...)
	note(PresenceLeft, m.GetLeft()...)
	note(PresenceLost, m.GetLost()...)
	switch len(changes) {
	case 0:
		return nil, nil
	case 1:
		return &changes[0], nil
	}
	c.items = items{left: len(changes), changes: changes, body: body}
	return nil, nil
}
