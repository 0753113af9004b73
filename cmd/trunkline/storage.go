package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/chat/sqlite"
)

// roomsFile is where a home keeps its rooms.
const roomsFile = "rooms.db"

const backupHelp = `examples:
  trunkline backup /backup/rooms-monday.db   copy the home's rooms, while a server runs or not

The copy has each room as it is at one moment, with every line at its position. It is a
file of its own, to be kept anywhere; there must be none of that name. What it is for is
trunkline restore. Keys and certificates are not in it: the home's other files are few,
change rarely, and may be copied as they are.
`

const restoreHelp = `examples:
  trunkline restore /backup/rooms-monday.db   bring it back, before the server is started

The home must have no rooms: stop its server, and move its rooms.db, and what is beside it
with -wal and -shm at the end, out of the way first. The rooms begin a new epoch then, so that a client
which saw more than the backup has is told what it can't have.
`

// A storageFlags holds what serve can be told of where rooms are kept, and for how long.
type storageFlags struct {
	durability     *string
	age            *time.Duration
	records, bytes *int64
	syncPoint      *bool
}

// storageFlags adds --durability and the --retain flags.
func (a *app) storageFlags(fs *pflag.FlagSet) storageFlags {
	return storageFlags{
		durability: fs.String("durability", "fsync", "what an acknowledged line outlives: `fsync` (a power cut), os (the process), or memory (nothing)"),
		age:        fs.Duration("retain-age", 0, "how long lines are kept; 0: for ever"),
		records:    fs.Int64("retain-lines", 1_000_000, "how many lines of a room are kept; 0: all"),
		bytes:      fs.Int64("retain-bytes", 1<<30, "how many bytes of lines of a room are kept; 0: all"),
		syncPoint:  fs.Bool("retain-syncpoint", false, "keep the lines of a room from its newest confirmed synchronization point on"),
	}
}

// open opens the rooms of a home. close is for when no server uses them any more.
func (s storageFlags) open(ctx context.Context, home string, log *slog.Logger) (rooms chat.Log, closeRooms func() error, err error) {
	if *s.age < 0 || *s.records < 0 || *s.bytes < 0 {
		return nil, nil, usagef("what --retain-age, --retain-lines and --retain-bytes say can't be negative")
	}
	cfg := sqlite.Config{
		MaxAge:         *s.age,
		MaxRoomRecords: orNone(*s.records),
		MaxRoomBytes:   orNone(*s.bytes),
		Logger:         log,
	}
	switch *s.durability {
	case "fsync":
	case "os":
		cfg.Durability = sqlite.OS
	case "memory":
		return chat.NewMemoryLog(chat.MemoryLogConfig{}), func() error { return nil }, nil
	default:
		return nil, nil, usagef("--durability is fsync, os or memory, not %q", *s.durability)
	}
	l, err := sqlite.Open(ctx, filepath.Join(home, roomsFile), cfg)
	if err != nil {
		return nil, nil, withHint(err, "if it is damaged, move it away, and trunkline restore brings a backup back")
	}
	return l, l.Close, nil
}

// backup copies a home's rooms to a file.
func (a *app) backup(ctx context.Context, c *command, args []string) error {
	home, file, err := a.homeAndFile(c, args)
	if err != nil {
		return err
	}
	rooms := filepath.Join(home, roomsFile)
	if _, err := os.Stat(rooms); errors.Is(err, fs.ErrNotExist) {
		return withHint(errors.New("the home has no rooms: "+rooms+" does not exist"), "--home says which home")
	}
	err = sqlite.Backup(ctx, rooms, file)
	if errors.Is(err, fs.ErrExist) {
		return withHint(errors.New(file+" exists"), "nothing is overwritten; move it away first")
	}
	return err
}

// restore makes a backup a home's rooms.
func (a *app) restore(ctx context.Context, c *command, args []string) error {
	home, file, err := a.homeAndFile(c, args)
	if err != nil {
		return err
	}
	rooms := filepath.Join(home, roomsFile)
	for _, there := range []string{rooms, rooms + "-wal", rooms + "-shm"} { // the two of another database would be taken for its
		if _, err := os.Lstat(there); err == nil {
			return withHint(fmt.Errorf("the home has rooms: %s exists", there),
				"stop its server, and move %s, and what is beside it with -wal and -shm, out of the way first", roomsFile)
		}
	}
	if _, err := os.Stat(file); err != nil {
		return err
	}
	if err := os.MkdirAll(home, 0o700); err != nil { // on a new machine
		return err
	}
	if err := sqlite.Restore(ctx, file, rooms); err != nil {
		return withHint(err, "it has to be a file that trunkline backup has made")
	}
	return nil
}

// homeAndFile reads the arguments of backup and restore.
func (a *app) homeAndFile(c *command, args []string) (home, file string, err error) {
	fs := flagSet(c)
	homeDir := a.homeFlag(fs)
	rest, err := a.parse(c, fs, args)
	if err != nil {
		return "", "", err
	}
	if len(rest) != 1 {
		return "", "", withHint(usagef("%s takes a file", c.name), "trunkline help %s", c.name)
	}
	h, err := a.openHome(*homeDir)
	if err != nil {
		return "", "", err
	}
	return h.Dir(), rest[0], nil
}
