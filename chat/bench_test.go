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
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) { fanout(b, readers, 0, 0) })
	}
}

// BenchmarkStalled is C6: a line every few milliseconds to 100 readers, and the same with one more that
// does not read.
func BenchmarkStalled(b *testing.B) {
	for _, stalled := range []int{0, 1} {
		b.Run(fmt.Sprintf("stalled=%d", stalled), func(b *testing.B) { fanout(b, 100, stalled, 25*time.Millisecond) })
	}
}

func fanout(b *testing.B, readers, stalled int, pace time.Duration) {
	b.Helper()
	n := transporttest.New(b, 0)
	server := chat.NewServer(chat.Config{Log: chat.NewMemoryLog(chat.MemoryLogConfig{}), Domain: n.Authority().Domain()})
	defer server.Close()
	cred, err := n.Authority().IssueServer([]string{"localhost"})
	require.NoError(b, err)
	srv, err := transport.Listen(&transport.Config{Credentials: cred, Addr: "127.0.0.1:0", Handlers: map[transport.StreamType]transport.Handler{
		transport.StreamChat: server.ServeStream,
	}})
	require.NoError(b, err)
	go func() { _ = srv.Serve(context.Background()) }()
	defer srv.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	join := func(name string) *chat.Client {
		s, err := transport.Dial(ctx, srv.Addr().String(), &transport.Config{Credentials: n.User(name)})
		require.NoError(b, err)
		c, err := chat.NewClient(ctx, s, chat.ClientConfig{MaxUnacknowledged: inFlight})
		require.NoError(b, err)
		require.NoError(b, c.Join(ctx, "lobby", chat.Live()))
		for {
			e, err := c.Next(ctx)
			require.NoError(b, err)
			if _, ok := e.(*chat.Joined); ok {
				return c
			}
		}
	}
	for range stalled {
		join("stalled")
	}
	var wg sync.WaitGroup
	latencies := make([][]time.Duration, readers)
	for i := range readers {
		c := join("reader")
		wg.Go(func() {
			for got := 0; got < b.N; {
				e, err := c.Next(ctx)
				if err != nil {
					b.Error(err)
					return
				}
				if m, ok := e.(*chat.Message); ok {
					got++
					sent, _ := strconv.ParseInt(m.Text[:19], 10, 64)
					latencies[i] = append(latencies[i], time.Duration(time.Now().UnixNano()-sent))
				}
			}
		})
	}
	publisher := join("publisher")
	wg.Go(func() {
		for got := 0; got < b.N; {
			e, err := publisher.Next(ctx)
			if err != nil {
				b.Error(err)
				return
			}
			if _, ok := e.(*chat.Sent); ok {
				got++
			}
		}
	})
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		_, err := publisher.Publish(ctx, "lobby", fmt.Sprintf("%019d and the rest of a line", time.Now().UnixNano()))
		require.NoError(b, err)
		time.Sleep(pace)
	}
	wg.Wait()
	b.StopTimer()
	every := slices.Concat(latencies...)
	slices.Sort(every)
	b.ReportMetric(float64(every[len(every)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(b.N*readers)/b.Elapsed().Seconds(), "deliveries/s")
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
				if _, err := l.Append(b.Context(), fmt.Sprint(room), heads[room], []chat.Entry{entry}); err != nil {
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
		if _, err := l.Append(b.Context(), "lobby", head, entries); err != nil {
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
