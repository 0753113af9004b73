package sqlite

import (
	"log/slog"
	"time"
)

// Durability says what an acknowledged record outlives. The zero value is [Fsync].
type Durability uint8

const (
	// Fsync: the machine's power. Each commit is written to the disk before it counts.
	Fsync Durability = iota
	// OS: the process. The operating system writes to the disk when it likes. What a power cut may take with it is
	// told by a new epoch, which every end of the process without Close brings. Nobody else may have the database open for
	// appending then: who closes it says that all is on the disk.
	OS
)

// Config configures a [Log]. The zero value works. Of the bounds, 0 is the default, and a negative number is none.
type Config struct {
	// Durability is what records outlive. Default: Fsync.
	Durability Durability

	// MaxRoomRecords and MaxRoomBytes are how much of one room is kept, in records and in bytes of texts. The
	// newest record always is. Defaults: 1,000,000 and 1 GiB.
	MaxRoomRecords int64
	MaxRoomBytes   int64

	// MaxAge is how long a record is kept. Default: for ever.
	MaxAge time.Duration

	// MaxRooms is how many rooms there may be that have, or had, a record. An append to one more is refused
	// with rpc.ResourceExhausted. Default: 100,000.
	MaxRooms int

	// MaxFileBytes is how long the database file may become, to the page; the write-ahead log beside it takes a few MiB more.
	// An append for which there is no place is refused with rpc.ResourceExhausted, as when the disk is full. Default: no bound.
	MaxFileBytes int64

	// Logger is told when the database fails, and when it works again. Default: nobody is.
	Logger *slog.Logger
}

// MarksOutlive is for how long a trimmed record still keeps its message from being appended again.
const MarksOutlive = 7 * 24 * time.Hour

// sweepEvery is how often what has become too old is looked for.
const sweepEvery = time.Minute

func (c *Config) setDefaults() {
	setDefault(&c.MaxRoomRecords, 1_000_000)
	setDefault(&c.MaxRoomBytes, 1<<30)
	setDefault(&c.MaxRooms, 100_000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T int | int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}
