package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-go/trunkline/transport"
)

// Config configures a [Mux]. The zero value works.
type Config struct {
	// Logger gets what callers are not told: the text of errors that are no [*Error], and
	// panics with their stacks. Default: discarded.
	Logger *slog.Logger

	// MaxMessage is the longest message, either way, in bytes. Longer ones fail their call
	// with ResourceExhausted, and are not read. Default: 4 MiB; negative: no limit but transport.Config.MaxBuffered.
	MaxMessage int

	// MaxMetadata is the longest HEAD of a request, which is its metadata and the names of method
	// and codec, in bytes. Default: 64 KiB, which is also the most that a caller of this package sends; negative: no limit. It has
	// at most 1,024 fields in any case.
	MaxMetadata int

	// HeadTimeout is how long the HEAD of a call may take to arrive once its stream has been
	// accepted. Default: 5 s; negative: as long as it likes.
	HeadTimeout time.Duration

	// MaxConcurrent is how many calls of one session run at once, those with streams included. More wait for their turn, in
	// the order in which they came, until their time is up or their caller goes; they are authorized by then, and no message
	// of theirs is read. Calls that wait for others of the same session, by calling back, need places for both. Default: no
	// limit but that of streams, transport.Config.MaxStreams, for which a caller waits on its own side.
	MaxConcurrent int

	// MaxQueued is how many calls of one session may wait, if there is a MaxConcurrent. What comes then is refused with
	// ResourceExhausted, at once, and asked to wait 100 ms (see [Error.RetryAfter]); like all that have waited in vain it has not
	// started. Default 128; negative: none.
	MaxQueued int

	// Codecs are known to callers besides the built-in ones, see [Codec]. Default: none.
	Codecs []Codec

	// Compressors are what callers may compress their requests with. The answers are compressed with the first of them that
	// the caller accepts, unless the handler says otherwise, see [Uncompressed]. Default: none, and nothing is compressed.
	Compressors []Compressor

	// CompressMin is the shortest message that is compressed, in bytes; shorter ones, and those that it does not
	// make shorter, go as they are. Default: 1 KiB. Negative: all are compressed.
	CompressMin int

	// Interceptors surround each call, the first of them the others. Default: none, which costs nothing.
	Interceptors []Interceptor

	// Authorize decides whether a call may run, before any message of it is decoded. An
	// [*Error] refuses with its code and message; any other error as PermissionDenied, and its text stays
	// here. The caller learns that nothing has run. Default: everyone may call everything.
	//
	// It is asked within the interceptors, so that it sees the values that those have put into ctx, and they see what
	// was refused. It is no Interceptor itself, because what decides must not be able to forget to go on, or to
	// be put in the wrong place.
	Authorize func(ctx context.Context, c Call) error

	// Recover is told of a panic of a handler, or of an interceptor, with its value v. It runs before the goroutine's
	// stack is unwound, so that debug.Stack shows where. Its error is what the call ends with, as if the handler
	// had returned it. If it returns nil, and by default, the caller is told Internal and no more; by default the
	// Logger gets value and stack. Nothing else fails with the call, so no interceptor is needed to recover.
	Recover func(ctx context.Context, c Call, v any) error

	// Observe is told of each call when it has ended, also of those that were refused, in the goroutine
	// that served it. Default: nobody is, which costs nothing.
	Observe func(CallStats)
}

// A Mux serves the calls that a peer makes. It is safe for concurrent use, and one may
// serve any number of sessions, on either side.
type Mux struct {
	cfg     Config
	log     *slog.Logger
	formats []format // of cfg.Codecs, then the built-in ones
	queue   *queue   // nil: no limit

	mu      sync.RWMutex // guards what follows
	methods map[string]*served
}

// served is a method with its handler.
type served struct {
	name  string
	info  MethodInfo
	serve serveFunc
	lends bool // see LendRequest
}

// NewMux returns a Mux without methods. It panics when the name of one of [Config.Codecs] or of
// [Config.Compressors] is not valid, or comes twice.
func NewMux(cfg Config) *Mux {
	cfg.MaxMessage = limitOf(cfg.MaxMessage, defaultMaxMessage)
	cfg.MaxMetadata = limitOf(cfg.MaxMetadata, maxEnvelope)
	if cfg.HeadTimeout == 0 {
		cfg.HeadTimeout = 5 * time.Second
	}
	cfg.Interceptors = slices.Clone(cfg.Interceptors)
	cfg.Compressors = slices.Clone(cfg.Compressors)
	cfg.CompressMin = leastOf(cfg.CompressMin)
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Mux{cfg: cfg, log: log, queue: newQueue(&cfg), methods: make(map[string]*served)}
	for _, c := range cfg.Codecs {
		m.formats = append(m.formats, custom(c))
	}
	checkNames("codec", m.formats, func(f format) string { return f.name })
	for _, name := range []string{codecProto, codecJSON, codecRaw} {
		m.formats = append(m.formats, format{name: name})
	}
	checkNames("compressor", cfg.Compressors, Compressor.Name)
	return m
}

// checkNames panics when a name of what a user plugs in is not valid or comes twice.
func checkNames[T any](what string, all []T, name func(T) string) {
	for i, v := range all {
		n := name(v)
		if !validKey(n) {
			panic(fmt.Sprintf("rpc: invalid name of a %s: %q", what, n))
		}
		if slices.ContainsFunc(all[:i], func(v T) bool { return name(v) == n }) {
			panic(fmt.Sprintf("rpc: two %ss are named %q", what, n))
		}
	}
}

// formatNamed returns the format of a call whose codec has that name, or nil.
func (m *Mux) formatNamed(name []byte) *format {
	for i := range m.formats {
		if f := &m.formats[i]; f.name == string(name) { // does not allocate
			return f
		}
	}
	return nil
}

// Handle makes mux serve the method m with fn. Its context ends with the call, see
// [CanceledError], and carries the session and the peer (see transport.SessionFrom) and the
// [Call] (see [CallFrom]). What fn returns is the call's status: nil is success, an [*Error]
// is sent as it is, a context's error as Canceled or DeadlineExceeded, and any other error as
// Unknown, without its text, which may hold what is nobody's business.
// A handler that calls back needs one of the streams that the other side allows. Where all of both sides are taken by
// calls whose handlers wait for each other's, only a deadline gets them out of it, so such calls should have one.
//
// When fn has returned, what its goroutines still send and receive fails with FailedPrecondition; a Send that is under way is
// waited for.
//
// Handle panics when the name is invalid or has a handler already.
func Handle[F any](mux *Mux, m Method[F], fn F, opts ...HandleOption) {
	s := &served{info: m.info(), serve: m.serve(fn)}
	for _, opt := range opts {
		opt.applyTo(s)
	}
	mux.handle(s)
}

func (m *Mux) handle(s *served) {
	name := s.info.Name
	if !validMethod(name) {
		panic(fmt.Sprintf("rpc: invalid method name %q", name))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.methods[name] != nil {
		panic(fmt.Sprintf("rpc: method %q is handled twice", name))
	}
	s.name = name
	m.methods[name] = s
}

// Methods returns the names of the methods that have a handler, sorted.
func (m *Mux) Methods() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.methods))
}

func (m *Mux) lookup(name []byte) *served {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.methods[string(name)] // does not allocate
}

// ServeStream serves one call. It is the [transport.Handler] for [transport.StreamRPC],
// on servers and clients alike.
func (m *Mux) ServeStream(ctx context.Context, s *transport.Stream) {
	c := &serverCall{mux: m, str: s}
	c.run(ctx)
}

type callKey struct{}

func callFrom(ctx context.Context) *serverCall {
	c, _ := ctx.Value(callKey{}).(*serverCall)
	return c
}

// CallFrom returns the call in whose service ctx was made, and whether there is one.
func CallFrom(ctx context.Context) (Call, bool) {
	c := callFrom(ctx)
	if c == nil {
		return Call{}, false
	}
	return c.describe(), true
}

// Draining returns a channel that is closed when the session of the call that ctx serves
// begins to be released or drained: a handler of a long stream should then return, with Unavailable if it is not at its
// end. A session that is lost or aborted was neither: ctx ends then. Without a call it returns nil, which blocks for ever.
func Draining(ctx context.Context) <-chan struct{} {
	c := callFrom(ctx)
	if c == nil {
		return nil
	}
	return c.str.Draining()
}

// AddHeader adds to the header of the response to the call that ctx serves. The header goes out
// with the first message, or with the status. It fails when it has gone, when the key is not
// valid (see [Field]), and when ctx serves no call.
func AddHeader(ctx context.Context, key, value string) error {
	c := callFrom(ctx)
	if c == nil {
		return errNoCall
	}
	return c.addHeader(Field{key, value})
}

// AddTrailer adds to the trailer of the response, which goes out with the status, as
// AddHeader does to the header.
func AddTrailer(ctx context.Context, key, value string) error {
	c := callFrom(ctx)
	if c == nil {
		return errNoCall
	}
	return c.addTrailer(Field{key, value})
}
