package chat_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

// inFlight is how many messages the benchmarks have unacknowledged.
const inFlight = 64

// BenchmarkFanout publishes from one session to many over UDP on loopback. One operation is one message
// that has reached every subscriber. p99 is the time from Publish to Next.
func BenchmarkFanout(b *testing.B) {
	for _, readers := range []int{1, 100} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			f := newFanout(b, readers, 0)
			b.ReportAllocs()
			b.ResetTimer()
			f.read(b.N)
			for range b.N {
				f.publish()
			}
			f.wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(f.p99().Microseconds()), "p99-µs")
			b.ReportMetric(float64(b.N*readers)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkStalled is C6: 100 readers and a line every few milliseconds, beside a server with the same and one more, who does
// not read, and has used up its credit. They have their lines in turn, so that what else the machine does is the same to both. One
// operation is a line to each.
func BenchmarkStalled(b *testing.B) {
	const pace = 12 * time.Millisecond
	const fill = 2 * chat.CreditWindow / lineSize
	none, one := newFanout(b, 100, 0), newFanout(b, 100, 1)
	for _, f := range []*fanout{none, one} { // so that it is stalled from the first on
		f.read(fill)
		for range fill {
			f.publish()
		}
		f.wg.Wait()
		f.forget()
	}
	require.Equal(b, 1, one.server.Stats().Stalled)
	require.Zero(b, none.server.Stats().Lagging)
	b.ResetTimer()
	none.read(b.N)
	one.read(b.N)
	for range b.N {
		for _, f := range []*fanout{none, one} {
			f.publish()
			time.Sleep(pace)
		}
	}
	none.wg.Wait()
	one.wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(none.p99().Microseconds()), "p99-µs")
	b.ReportMetric(float64(one.p99().Microseconds()), "p99-stalled-µs")
	b.ReportMetric(float64(one.p99())/float64(none.p99()), "p99-ratio")
}

// A fanout is a server over UDP on loopback, with one who publishes to many readers.
type fanout struct {
	b         *testing.B
	server    *chat.Server
	publisher *chat.Client
	readers   []*chat.Client
	latencies [][]time.Duration // of each reader
	wg        sync.WaitGroup
}

const (
	// lineText is what follows the time in a line, which has lineSize bytes.
	lineText = " and the rest of a line"
	lineSize = 19 + len(lineText)
)

func newFanout(b *testing.B, readers, stalled int) *fanout {
	b.Helper()
	n := transporttest.New(b, 0)
	f := &fanout{b: b, latencies: make([][]time.Duration, readers)}
	f.server = chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: n.Authority().Domain()})
	b.Cleanup(f.server.Close)
	cred, err := n.Authority().IssueServer([]string{"localhost"})
	require.NoError(b, err)
	srv, err := transport.Listen(&transport.Config{Credentials: cred, Addr: "127.0.0.1:0", Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamChat: f.server.ServeStream,
	}})
	require.NoError(b, err)
	go func() { _ = srv.Serve(context.Background()) }()
	b.Cleanup(func() { _ = srv.Close() })
	join := func(name string) *chat.Client {
		s, err := transport.Dial(b.Context(), srv.Addr().String(), &transport.Config{Credentials: n.User(name)})
		require.NoError(b, err)
		c, err := chat.NewClient(b.Context(), s, chat.ClientConfig{MaxUnacknowledged: inFlight})
		require.NoError(b, err)
		require.NoError(b, c.Join(b.Context(), "lobby", chat.Live()))
		for {
			e, err := c.Next(b.Context())
			require.NoError(b, err)
			if _, ok := e.(*chat.Joined); ok {
				return c
			}
		}
	}
	for range stalled {
		join("stalled")
	}
	for range readers {
		f.readers = append(f.readers, join("reader"))
	}
	f.publisher = join("publisher")
	return f
}

// read has every reader read n lines, and the publisher as many acknowledgements.
func (f *fanout) read(n int) {
	count := func(c *chat.Client, is func(chat.Event) bool) {
		for got := 0; got < n; {
			e, err := c.Next(f.b.Context())
			if err != nil {
				f.b.Error(err)
				return
			}
			if is(e) {
				got++
			}
		}
	}
	for i, c := range f.readers {
		f.wg.Go(func() {
			count(c, func(e chat.Event) bool {
				m, ok := e.(*chat.Message)
				if ok {
					sent, _ := strconv.ParseInt(m.Text[:19], 10, 64)
					f.latencies[i] = append(f.latencies[i], time.Duration(time.Now().UnixNano()-sent))
				}
				return ok
			})
		})
	}
	f.wg.Go(func() {
		count(f.publisher, func(e chat.Event) bool { _, ok := e.(*chat.Sent); return ok })
	})
}

func (f *fanout) publish() {
	_, err := f.publisher.Publish(f.b.Context(), "lobby", fmt.Sprintf("%019d%s", time.Now().UnixNano(), lineText))
	require.NoError(f.b, err)
}

// forget forgets what was measured.
func (f *fanout) forget() {
	for i := range f.latencies {
		f.latencies[i] = nil
	}
}

// p99 is of all lines of all readers.
func (f *fanout) p99() time.Duration {
	every := slices.Concat(f.latencies...)
	slices.Sort(every)
	return every[len(every)*99/100]
}

// An append at the limit costs the same however many rooms there are (C6).
func BenchmarkMemoryLogAtItsLimit(b *testing.B) {
	for _, rooms := range []int{10, 9_000} {
		b.Run(fmt.Sprintf("%d rooms", rooms), func(b *testing.B) {
			l := chat.NewMemoryLog(chat.MemoryLogConfig{MaxBytes: 4 << 20})
			heads := make([]uint64, rooms)
			appendOne := func(i int) {
				room := i % rooms
				entry := chat.Entry{From: "m", ID: fmt.Sprint(i), Body: make([]byte, 200)}
				if _, err := l.Append(b.Context(), fmt.Sprint(room), heads[room], []chat.Entry{entry}, nil); err != nil {
					b.Fatal(err)
				}
				heads[room]++
			}
			i := 0
			for ; i < 20_000; i++ {
				appendOne(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				appendOne(i)
				i++
			}
		})
	}
}

// An append with all the marks that there may be.
func BenchmarkMemoryLogMarks(b *testing.B) {
	l := chat.NewMemoryLog(chat.MemoryLogConfig{})
	head := uint64(0)
	appendMany := func(n int) {
		entries := make([]chat.Entry, n)
		for i := range entries {
			entries[i] = chat.Entry{From: "m", ID: fmt.Sprint("AbCdEfGhIjK", head+uint64(i)), Body: make([]byte, 100)}
		}
		if _, err := l.Append(b.Context(), "lobby", head, entries, nil); err != nil {
			b.Fatal(err)
		}
		head += uint64(n)
	}
	for range 2100 {
		appendMany(100)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N/100 + 1 {
		appendMany(100)
	}
}
