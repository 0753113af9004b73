package rpc

// A CallOption changes one call.
type CallOption interface{ apply(o *callOptions) }

type callOptions struct {
	format     format
	metadata   Metadata
	maxMessage int
	header     *Metadata
	trailer    *Metadata
	cursor     string
	hedging    hedging

	compressor  Compressor   // of requests
	accept      []Compressor // of answers
	compressMin int
	plain       func(m any) bool // requests that are not compressed
}

type optionFunc func(o *callOptions)

func (f optionFunc) apply(o *callOptions) { f(o) }

// WithCodec sets the codec of the call's messages, both ways, to a built-in one: "proto", "json" or "raw". By
// default it follows from the method's types; what those cannot be encoded in fails with
// InvalidArgument.
func WithCodec(name string) CallOption {
	return optionFunc(func(o *callOptions) { o.format = format{name: name} })
}

// WithCustomCodec sets the codec of the call's messages, both ways, to c. A peer whose [Config.Codecs] do not have
// one of that name answers with Unimplemented, and has not run the call.
func WithCustomCodec(c Codec) CallOption {
	return optionFunc(func(o *callOptions) { o.format = custom(c) })
}

// WithCompression compresses the requests of the call with c, and lets the peer compress the answers with it. A peer
// that does not know c answers with Unimplemented, says what it accepts, and has not run the call. With nil neither
// way is compressed, whatever the options before said. Default: nil; see [Compressor] for why.
func WithCompression(c Compressor) CallOption {
	return optionFunc(func(o *callOptions) {
		if o.compressor = c; c == nil {
			o.accept = nil
			return
		}
		o.acceptToo(c)
	})
}

// WithAcceptCompression lets the peer compress the answers of the call with one of these. Which one, and whether, is
// the peer's choice.
func WithAcceptCompression(c ...Compressor) CallOption {
	return optionFunc(func(o *callOptions) {
		for _, c := range c {
			o.acceptToo(c)
		}
	})
}

func (o *callOptions) acceptToo(c Compressor) {
	if named(o.accept, []byte(c.Name())) == nil {
		o.accept = append(o.accept, c)
	}
}

// WithCompressMin sets the shortest request that is compressed, in bytes; shorter ones, and those that it does not make
// shorter, go as they are. Default: 1 KiB. Negative: all are compressed.
func WithCompressMin(n int) CallOption {
	return optionFunc(func(o *callOptions) { o.compressMin = n })
}

// WithUncompressed has those requests go uncompressed, whatever the other options say, of which plain says so: they are
// compressed already, or have a secret beside what others may choose (see [Compressor]). m is the pointer that the caller
// passed. For single messages of a [Stream] there is [Sender.SendUncompressed]. Default: none.
func WithUncompressed(plain func(m any) bool) CallOption {
	return optionFunc(func(o *callOptions) { o.plain = plain })
}

// WithMetadata sends md with the request. Together with the name of the method it may
// take 64 KiB, or what the peer's [Config.MaxMetadata] says, and has at most 1,024 fields.
func WithMetadata(md Metadata) CallOption {
	return optionFunc(func(o *callOptions) { o.metadata = append(o.metadata, md...) })
}

// WithMaxMessage bounds each message of the call, both ways, in bytes. Longer ones fail
// with ResourceExhausted. Default, and 0: 4 MiB; negative: no limit.
func WithMaxMessage(n int) CallOption {
	return optionFunc(func(o *callOptions) { o.maxMessage = n })
}

// WithHeader stores the header of the response in md, of a call with one response; streams have [Receiver.Header].
func WithHeader(md *Metadata) CallOption {
	return optionFunc(func(o *callOptions) { o.header = md })
}

// WithTrailer stores the trailer of the response in md, of a call with one response, also when that is an error; streams
// have [Receiver.Trailer].
func WithTrailer(md *Metadata) CallOption {
	return optionFunc(func(o *callOptions) { o.trailer = md })
}

// WithCursor makes the stream of a [Resumable] method go on behind the message that had the cursor, which
// [Receiver.Cursor] has told of an earlier call with the same request. Empty: from the beginning.
func WithCursor(cursor string) CallOption {
	return optionFunc(func(o *callOptions) { o.cursor = cursor })
}

// resolve is apart so that a call without options allocates nothing for them.
func resolve(defaults, opts []CallOption) callOptions {
	var o callOptions
	for _, opt := range defaults {
		opt.apply(&o)
	}
	for _, opt := range opts {
		opt.apply(&o)
	}
	return o
}
