package floor

import "time"

// The defaults of [Settings].
const (
	DefaultLease     = 30 * time.Second
	DefaultGrace     = 30 * time.Second
	DefaultChairAway = time.Minute
	DefaultUndecided = 15 * time.Minute
)

// Settings are how a floor is held and who decides. The zero value is a floor without a chair, with the
// defaults. They are no part of the state: whoever keeps the state keeps them beside it.
type Settings struct {
	// Chaired is whether a chair has been appointed. While one is there, requests wait for them.
	Chaired bool

	// Lease is how long a grant lasts unless it is renewed. 0: DefaultLease; negative: for ever.
	Lease time.Duration

	// Longest is how long a grant lasts in all, however often it is renewed. 0 or less: for ever.
	Longest time.Duration

	// Grace is how long the requests, and the grant, of a session that was lost wait for it.
	// 0: DefaultGrace; negative: they don't.
	Grace time.Duration

	// ChairAway is how long a floor stays chaired when no chair is there. 0: DefaultChairAway;
	// negative: it doesn't.
	ChairAway time.Duration

	// Undecided is how long a request waits for a chair who is there. 0: DefaultUndecided; it has no
	// value for "for ever", because nobody shall wait so long.
	Undecided time.Duration

	// NoChair is what becomes of requests that no chair decides.
	NoChair NoChair
}

// NoChair is what becomes of a request that has waited for a chair as long as it may.
type NoChair uint8

// What becomes of it.
const (
	Automatic NoChair = iota // as if the floor had no chair: in order of priority, then time
	DenyAll                  // it is denied
)

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// A deadline is a point in time that may be never, the zero value.
type deadline struct{ time.Time }

// after returns the deadline that is d after t; with a negative d it is t.
func after(t time.Time, d time.Duration) deadline { return deadline{t.Add(max(d, 0))} }

func (d deadline) over(now time.Time) bool { return !d.IsZero() && !now.Before(d.Time) }

// before says whether d is earlier than e.
func (d deadline) before(e deadline) bool {
	return !d.IsZero() && (e.IsZero() || d.Before(e.Time))
}

// earliest returns the first of two deadlines.
func earliest(a, b deadline) deadline {
	if b.before(a) {
		return b
	}
	return a
}

// lease returns when a grant that was renewed at t ends.
func (s *Settings) lease(renewed time.Time) deadline {
	if s.Lease < 0 {
		return deadline{}
	}
	return after(renewed, orDefault(s.Lease, DefaultLease))
}

// longest returns when a grant that was made at t ends, if it is renewed.
func (s *Settings) longest(granted time.Time) deadline {
	if s.Longest <= 0 {
		return deadline{}
	}
	return after(granted, s.Longest)
}

func (s *Settings) grace(lost time.Time) deadline {
	return after(lost, orDefault(s.Grace, DefaultGrace))
}

func (s *Settings) chairAway(since time.Time) deadline {
	return after(since, orDefault(s.ChairAway, DefaultChairAway))
}

func (s *Settings) undecided(since time.Time) deadline {
	if s.Undecided <= 0 {
		return after(since, DefaultUndecided)
	}
	return after(since, s.Undecided)
}
