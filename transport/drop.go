package transport

// A Drop is a limit of a server's that has cost a peer something.
type Drop uint8

// The limits.
const (
	DropHandshakes Drop = iota + 1 // packets that would begin a connection: [Config.MaxHandshakes]
	DropAddress                    // the same, and connections refused: [Config.MaxPerAddress]
	DropIdentity                   // sessions refused, or held ones dropped: [Config.MaxIdentitySessions]
	DropSessions                   // the same: [Config.MaxSessions]
	DropBuffered                   // messages refused: [Config.MaxBuffered]
	DropControl                    // connections closed for too many control frames
	DropWindow                     // windows that did not grow: [Config.MaxBuffered]
)

// Drops returns all limits, for who counts by them.
func Drops() []Drop {
	return []Drop{DropHandshakes, DropAddress, DropIdentity, DropSessions, DropBuffered, DropControl, DropWindow}
}

// String returns the name of the limit: "handshakes", "address", "identity", "sessions", "buffered",
// "control", "window".
func (d Drop) String() string {
	switch d {
	case DropHandshakes:
		return "handshakes"
	case DropAddress:
		return "address"
	case DropIdentity:
		return "identity"
	case DropSessions:
		return "sessions"
	case DropBuffered:
		return "buffered"
	case DropControl:
		return "control"
	case DropWindow:
		return "window"
	}
	return "unknown"
}
