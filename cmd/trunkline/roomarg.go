package main

import (
	"strings"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
)

// checkRoomArg checks the name of a room on a command line: one that chat knows, or @NAME.
func checkRoomArg(arg string) error {
	if who, ok := directArg(arg); ok {
		return checkWho(who)
	}
	return checkRoom(arg)
}

// checkRoom checks the name of a room that chat knows.
func checkRoom(arg string) error {
	if err := chat.ValidRoom(arg); err != nil {
		return usagef("room %q: %s", arg, err)
	}
	return nil
}

// directArg returns NAME, if arg is @NAME: the room of NAME and oneself.
func directArg(arg string) (who string, ok bool) {
	who, ok = strings.CutPrefix(arg, "@")
	return who, ok && !strings.Contains(who, ",")
}

// checkWho checks the name of somebody: that of a user of the server's domain, or a SPIFFE ID.
func checkWho(who string) error {
	err := certs.ValidName(who)
	if strings.Contains(who, "/") {
		_, err = certs.ParseID(who)
	}
	if err != nil {
		return usagef("nobody has such a name: %s", err)
	}
	return nil
}

// roomOn returns the room that a checked argument means to who has the session.
func roomOn(s *transport.Session, arg string) (string, error) {
	who, ok := directArg(arg)
	if !ok {
		return arg, nil
	}
	if who == ownName(s) {
		return "", usagef("%s is yourself", arg)
	}
	return chat.DirectRoom(ownName(s), who), nil
}

// ownName returns the name by which the server knows who has the session to others.
func ownName(s *transport.Session) string {
	id := s.Identity()
	if id.Domain == s.Peer().ID.Domain {
		return id.Name
	}
	return id.String()
}
