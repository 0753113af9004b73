package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trunkline-go/trunkline/chat"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/transport"
)

// Durations of calls and of commits go from what the loopback takes to what nobody waits for.
var durations = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// A metrics collects what a server does, in Prometheus' terms. What needs each event is observed here;
// all else is asked for when somebody looks.
type metrics struct {
	registry *prometheus.Registry

	calls       *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	bytes       *prometheus.CounterVec
	commitLines prometheus.Histogram
	commits     prometheus.Histogram
	failures    prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_calls_total", Help: "Calls of peers that have ended, by what the caller was told.",
		}, []string{"method", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trunkline_call_duration_seconds", Help: "From a call's stream until its answer was sent.", Buckets: durations,
		}, []string{"method"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_call_message_bytes_total", Help: "Bytes of the messages of calls, received and sent.",
		}, []string{"method", "direction"}),
		commitLines: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trunkline_chat_commit_lines", Help: "Lines that were appended to the log together.", Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trunkline_chat_commit_duration_seconds", Help: "How long appends to the log took.", Buckets: durations,
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_chat_commit_failures_total", Help: "Appends to the log that failed, or may have.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "trunkline_build_info", Help: "1, labeled with the version.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.calls, m.durations, m.bytes, m.commitLines, m.commits, m.failures, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// otherMethod is the label of calls that named no method of the server's.
const otherMethod = "other"

// observeCall is for rpc.Config.Observe.
func (m *metrics) observeCall(st rpc.CallStats) {
	method := st.Method
	if method == "" {
		method = otherMethod
	}
	m.calls.WithLabelValues(method, st.Code.String()).Inc()
	m.durations.WithLabelValues(method).Observe(st.Duration.Seconds())
	m.bytes.WithLabelValues(method, "received").Add(float64(st.Received))
	m.bytes.WithLabelValues(method, "sent").Add(float64(st.Sent))
}

// observeCommit is for chat.Config.ObserveCommit.
func (m *metrics) observeCommit(st chat.CommitStats) {
	m.commitLines.Observe(float64(st.Lines))
	m.commits.Observe(st.Duration.Seconds())
	if st.Failed {
		m.failures.Inc()
	}
}

// collect adds the metrics that are snapshots.
func (m *metrics) collect(sessions func() transport.Stats, rooms func() chat.Stats) {
	m.registry.MustRegister(snapshots{sessions, rooms})
}

// snapshots turns what the server counts into metrics, when it is asked.
type snapshots struct {
	sessions func() transport.Stats
	rooms    func() chat.Stats
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descSessions    = desc("trunkline_sessions", "Sessions that a connection carries (live), and that are held for their clients (detached).", "state")
	descGreeting    = desc("trunkline_connections_greeting", "Connections that have not come to WELCOME.")
	descStreams     = desc("trunkline_streams", "Streams that are open, either way.")
	descAccepted    = desc("trunkline_streams_accepted_total", "Streams that peers have opened.")
	descEstablished = desc("trunkline_sessions_established_total", "Sessions that were made.")
	descResumes     = desc("trunkline_session_resumes_total", "Later connections of a session, by whether the server still had it.", "kept")
	descRefusals    = desc("trunkline_connection_refusals_total", "Connections that did not come to WELCOME, by close code and who decided it.", "code", "by")
	descConnections = desc("trunkline_connection_endings_total", "Ends of connections that carried a session.", "code", "by")
	descEndings     = desc("trunkline_session_endings_total", "Ends of sessions.", "code", "by")
	descHandshakes  = desc("trunkline_handshakes", "Connections on their way from the first packet to WELCOME.")
	descBuffered    = desc("trunkline_buffered_bytes", "Memory that peers take for what is not whole, or not read, yet.")
	descLimits      = desc("trunkline_limit_drops_total", "What a limit has refused or dropped: first packets of connections (handshakes, address), sessions (identity, sessions), messages (buffered), connections (control), growth of receive windows (window).", "limit")

	descChatStreams  = desc("trunkline_chat_streams", "Chat streams that are open.")
	descRooms        = desc("trunkline_chat_rooms", "Rooms that have members.")
	descMembers      = desc("trunkline_chat_members", "Sessions in rooms, counted in each.")
	descLagging      = desc("trunkline_chat_lagging_readers", "Members that are behind: their credit is used up, or they read the log.")
	descHeld         = desc("trunkline_chat_held_members", "Members that have vanished, and may come back while their sessions are held.")
	descStalled      = desc("trunkline_chat_stalled_readers", "Lagging readers whose credit is used up: they do not confirm what they were sent.")
	descVanished     = desc("trunkline_chat_vanished_total", "How often a member has vanished: its stream was lost, not ended.")
	descCatchUps     = desc("trunkline_chat_catch_ups_total", "How often a reader was so far behind that it went back to the log.")
	descLines        = desc("trunkline_chat_lines_total", "Lines that were appended to the log.")
	descDuplicates   = desc("trunkline_chat_duplicates_total", "Lines that came again, and were acknowledged again.")
	descDeliveries   = desc("trunkline_chat_deliveries_total", "Lines that were written to members.")
	descDeliverBytes = desc("trunkline_chat_delivered_bytes_total", "Bytes of events that were written to members.")
	descRejections   = desc("trunkline_chat_rejections_total", "Requests that were rejected.", "request", "code")
	descFloorChanges = desc("trunkline_chat_floor_changes_total", "What has become of requests for floors (state: granted, denied, revoked and so on), and why.", "state", "why")
	descHalfDuplex   = desc("trunkline_chat_half_duplex_rooms", "Rooms that are half-duplex, of those that have members, or whose floor somebody has or waits for.")
	descFloorsHeld   = desc("trunkline_chat_floors_held", "Rooms whose floor somebody has.")
	descFloorWaiting = desc("trunkline_chat_floor_waiting_requests", "Requests for floors that wait, for a chair or in a queue.")
	descDrops        = desc("trunkline_chat_drops_total", "What slow or broken readers cost them: their place (trimmed; evicted, who may not be there any more), their session (unread, malformed), presence events (presence).", "reason")
)

// Describe implements [prometheus.Collector].
func (s snapshots) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descSessions, descGreeting, descStreams, descAccepted, descEstablished, descResumes, descRefusals, descConnections, descEndings, descHandshakes, descBuffered, descLimits,
		descChatStreams, descRooms, descMembers, descHeld, descLagging, descStalled, descVanished, descCatchUps, descLines, descDuplicates, descDeliveries, descDeliverBytes, descRejections, descDrops,
		descFloorChanges, descHalfDuplex, descFloorsHeld, descFloorWaiting,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (s snapshots) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	endings := func(d *prometheus.Desc, m map[transport.Ending]uint64) {
		for e, n := range m {
			count(d, n, e.Code.String(), endedBy(e))
		}
	}
	t := s.sessions()
	gauge(descSessions, t.Live, "live")
	gauge(descSessions, t.Detached, "detached")
	gauge(descGreeting, t.Greeting)
	gauge(descStreams, t.Streams)
	count(descAccepted, t.Accepted)
	count(descEstablished, t.Established)
	count(descResumes, t.Resumed, "true")
	count(descResumes, t.NotKept, "false")
	endings(descRefusals, t.Refused)
	gauge(descHandshakes, t.Handshakes)
	gauge(descBuffered, int(t.Buffered))
	for _, d := range transport.Drops() {
		count(descLimits, t.Dropped[d], d.String())
	}
	endings(descConnections, t.Connections)
	endings(descEndings, t.Endings)

	c := s.rooms()
	gauge(descChatStreams, c.Streams)
	gauge(descRooms, c.Rooms)
	gauge(descMembers, c.Members)
	gauge(descHeld, c.Held)
	gauge(descLagging, c.Lagging)
	gauge(descStalled, c.Stalled)
	count(descVanished, c.Vanished)
	count(descCatchUps, c.CatchUps)
	count(descLines, c.Published)
	count(descDuplicates, c.Duplicates)
	count(descDeliveries, c.Delivered)
	count(descDeliverBytes, c.DeliveredBytes)
	for r, n := range c.Rejected {
		count(descRejections, n, string(r.Request), r.Code.String())
	}
	for change, n := range c.FloorChanges {
		count(descFloorChanges, n, string(change.State), change.Why)
	}
	gauge(descHalfDuplex, c.HalfDuplex)
	gauge(descFloorsHeld, c.FloorsHeld)
	gauge(descFloorWaiting, c.FloorWaiting)
	count(descDrops, c.Trimmed, "trimmed")
	count(descDrops, c.Evicted, "evicted")
	count(descDrops, c.Unread, "unread")
	count(descDrops, c.Malformed, "malformed")
	count(descDrops, c.PresenceSkipped, "presence")
}

// endedBy says who brought an ending about: the server, its peer, or nobody.
func endedBy(e transport.Ending) string {
	switch {
	case e.Remote:
		return "peer"
	case e.Code == transport.Lost:
		return "nobody"
	}
	return "server"
}

// A metricsServer answers at /metrics over plain HTTP, which has no access control: who can reach it can read it.
type metricsServer struct {
	http     *http.Server
	listener net.Listener
	done     chan struct{}
}

// serveMetrics listens on addr, or if that has no host on loopback.
func serveMetrics(addr string, m *metrics, log *slog.Logger) (*metricsServer, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usagef("--metrics: %s", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, withHint(err, "--metrics wants an address that nobody listens on, such as 127.0.0.1:9464")
	}
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	}))
	s := &metricsServer{
		http: &http.Server{
			Handler:           mux,
			ErrorLog:          errorLog,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       5 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
		},
		listener: l,
		done:     make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "err", err)
		}
	}()
	return s, nil
}

func (s *metricsServer) url() string { return "http://" + s.listener.Addr().String() + "/metrics" }

// close ends the server; who is being answered has a second.
func (s *metricsServer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.done
}
