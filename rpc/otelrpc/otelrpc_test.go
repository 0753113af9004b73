package otelrpc_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/otelrpc"
	"github.com/trunkline-go/trunkline/transport"
	"github.com/trunkline-go/trunkline/transport/transporttest"
)

var (
	double = rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Double")
	parts  = rpc.ServerStream[rpc.Raw, rpc.Raw]("test.Echo/Parts")
	join   = rpc.ClientStream[rpc.Raw, rpc.Raw]("test.Echo/Join")
	chat   = rpc.Bidi[rpc.Raw, rpc.Raw]("test.Echo/Chat")
	fail   = rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Fail")
	nested = rpc.Unary[rpc.Raw, rpc.Raw]("test.Echo/Nested")
)

const rtt = 20 * time.Millisecond

// telemetry is what one side, or both, have recorded.
type telemetry struct {
	spans   *tracetest.InMemoryExporter
	metrics *sdkmetric.ManualReader
}

func newTelemetry(t *testing.T, p propagation.TextMapPropagator) (telemetry, rpc.Interceptor) {
	t.Helper()
	tel := telemetry{tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()}
	i, err := otelrpc.New(otelrpc.Config{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(tel.spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(tel.metrics)),
		Propagator:     p,
	})
	require.NoError(t, err)
	return tel, i
}

// span returns the one span of that kind of a method.
func (tel telemetry) span(t *testing.T, method string, kind trace.SpanKind) tracetest.SpanStub {
	t.Helper()
	all := slices.DeleteFunc(tel.spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name != method || s.SpanKind != kind })
	require.Len(t, all, 1, "spans of %s, %v", method, kind)
	return all[0]
}

func attrs(s tracetest.SpanStub) map[attribute.Key]string {
	m := make(map[attribute.Key]string)
	for _, kv := range s.Attributes {
		m[kv.Key] = kv.Value.String()
	}
	return m
}

// values returns how many values a histogram of a method has, and their sum.
func (tel telemetry) values(t *testing.T, name, method, code string) (n uint64, sum float64) {
	t.Helper()
	var rm metricdata.ResourceMetrics
	require.NoError(t, tel.metrics.Collect(t.Context(), &rm))
	has := func(set attribute.Set) bool {
		m, _ := set.Value("rpc.method")
		s, _ := set.Value("rpc.system.name")
		c, _ := set.Value("rpc.response.status_code")
		return m.AsString() == method && s.AsString() == "trunkline" && c.AsString() == code
	}
	for _, scope := range rm.ScopeMetrics {
		require.Equal(t, otelrpc.ScopeName, scope.Scope.Name)
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Histogram[int64]:
				require.Equal(t, "By", m.Unit)
				for _, p := range data.DataPoints {
					if has(p.Attributes) {
						n, sum = n+p.Count, sum+float64(p.Sum)
					}
				}
			case metricdata.Histogram[float64]:
				require.Equal(t, "s", m.Unit)
				for _, p := range data.DataPoints {
					if has(p.Attributes) {
						n, sum = n+p.Count, sum+p.Sum
					}
				}
			default:
				t.Fatalf("%s is a %T", name, data)
			}
		}
	}
	return n, sum
}

func newMux(cfg rpc.Config) *rpc.Mux {
	mux := rpc.NewMux(cfg)
	rpc.Handle(mux, double, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
		res := slices.Repeat(*req, 2)
		return &res, nil
	})
	rpc.Handle(mux, parts, func(_ context.Context, req *rpc.Raw, out *rpc.Sender[rpc.Raw]) error {
		for range 3 {
			if err := out.Send(req); err != nil {
				return err
			}
		}
		return nil
	})
	rpc.Handle(mux, join, func(_ context.Context, in *rpc.Receiver[rpc.Raw]) (*rpc.Raw, error) {
		var all rpc.Raw
		for m, err := range in.All() {
			if err != nil {
				return nil, err
			}
			all = append(all, *m...)
		}
		return &all, nil
	})
	rpc.Handle(mux, chat, func(ctx context.Context, s *rpc.Stream[rpc.Raw, rpc.Raw]) error {
		for m, err := range s.All() {
			if err == nil {
				err = s.Send(m)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	rpc.Handle(mux, fail, func(_ context.Context, req *rpc.Raw) (*rpc.Raw, error) {
		switch string(*req) {
		case "panic":
			panic("secret")
		case "plain":
			return nil, errors.New("disk full")
		}
		return nil, rpc.Errorf(rpc.NotFound, "no %s", *req)
	})
	return mux
}

func start(t *testing.T, mux, own *rpc.Mux) *transport.Session {
	t.Helper()
	n := transporttest.New(t, rtt)
	srv := n.Listen(transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream}})
	return n.Dial(srv, "alice", transport.Config{Handlers: map[transport.StreamType]transport.Handler{transport.StreamRPC: own.ServeStream}})
}

// A call of any kind has a span on either side, of one trace, and its messages and its time are measured.
func TestEveryKindOfCallIsTracedAndMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, interceptor := newTelemetry(t, propagation.TraceContext{})
		server, serving := newTelemetry(t, propagation.TraceContext{})
		session := start(t, newMux(rpc.Config{Interceptors: []rpc.Interceptor{serving}}), rpc.NewMux(rpc.Config{}))
		conn := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{interceptor}})
		ctx := t.Context()
		req := rpc.Raw("four")

		_, err := double.Call(ctx, conn, &req)
		require.NoError(t, err)
		in, err := parts.Call(ctx, conn, &req)
		require.NoError(t, err)
		for _, err := range in.All() {
			require.NoError(t, err)
		}
		_, err = join.Call(ctx, conn, slices.Values([]*rpc.Raw{&req, &req}))
		require.NoError(t, err)
		s, err := chat.Call(ctx, conn)
		require.NoError(t, err)
		require.NoError(t, s.Send(&req))
		_, err = s.Recv()
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, s.CloseSend())
		_, err = s.Recv()
		require.EqualError(t, err, "EOF")

		for _, want := range []struct {
			method                              string
			requests, requestBytes              int
			responses, responseBytes, atLeastMs int
		}{
			{double.Name(), 1, 4, 1, 8, 0},
			{parts.Name(), 1, 4, 3, 12, 0},
			{join.Name(), 2, 8, 1, 8, 0},
			{chat.Name(), 1, 4, 1, 4, 1000},
		} {
			out, in := client.span(t, want.method, trace.SpanKindClient), server.span(t, want.method, trace.SpanKindServer)
			require.Equal(t, out.SpanContext.TraceID(), in.SpanContext.TraceID())
			require.Equal(t, out.SpanContext.SpanID(), in.Parent.SpanID())
			require.True(t, in.Parent.IsRemote())
			for _, span := range []tracetest.SpanStub{out, in} {
				require.Equal(t, codes.Unset, span.Status.Code)
				a := attrs(span)
				require.Equal(t, "trunkline", a["rpc.system.name"])
				require.Equal(t, want.method, a["rpc.method"])
				require.Equal(t, "OK", a["rpc.response.status_code"])
				require.Equal(t, "quic", a["network.transport"])
				require.NotContains(t, a, attribute.Key("error.type"))
				require.Equal(t, otelrpc.SchemaURL, span.InstrumentationScope.SchemaURL)
				require.GreaterOrEqual(t, span.EndTime.Sub(span.StartTime), time.Duration(want.atLeastMs)*time.Millisecond)
			}
			a := attrs(out)
			require.Equal(t, session.Peer().Addr.String(), a["server.address"]+":"+a["server.port"])

			for side, tel := range map[string]telemetry{"client": client, "server": server} {
				n, sum := tel.values(t, "rpc."+side+".request.size", want.method, "")
				require.Equal(t, []any{uint64(want.requests), float64(want.requestBytes)}, []any{n, sum}, side)
				n, sum = tel.values(t, "rpc."+side+".response.size", want.method, "")
				require.Equal(t, []any{uint64(want.responses), float64(want.responseBytes)}, []any{n, sum}, side)
				n, sum = tel.values(t, "rpc."+side+".call.duration", want.method, "OK")
				require.Equal(t, uint64(1), n)
				require.GreaterOrEqual(t, sum, float64(want.atLeastMs)/1000)
				require.Less(t, sum, float64(want.atLeastMs)/1000+1)
			}
		}
	})
}

// To the caller every code is an error, to the server those are that its caller may not cause.
func TestAFailedCallIsAnErrorToWhomItIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := func(_ context.Context, c rpc.Call) error {
			if _, ok := c.Metadata.Get("refuse"); ok {
				return rpc.Errorf(rpc.PermissionDenied, "no")
			}
			return nil
		}
		refused := rpc.WithMetadata(rpc.Metadata{{Key: "refuse", Value: ""}})
		for _, test := range []struct {
			text            string
			opts            []rpc.CallOption
			code, execution string
			server          codes.Code
			description     string // at the server
		}{
			{"hat", nil, "NotFound", "ran", codes.Unset, ""},
			{"hat", []rpc.CallOption{refused}, "PermissionDenied", "not started", codes.Unset, ""},
			{"plain", nil, "Unknown", "ran", codes.Error, "disk full"},
			{"panic", nil, "Internal", "ran", codes.Error, "Internal: handler failed"},
		} {
			client, interceptor := newTelemetry(t, propagation.TraceContext{})
			server, serving := newTelemetry(t, propagation.TraceContext{})
			mux := newMux(rpc.Config{Interceptors: []rpc.Interceptor{serving}, Authorize: refuse})
			conn := rpc.NewClient(start(t, mux, rpc.NewMux(rpc.Config{})), rpc.ClientConfig{Interceptors: []rpc.Interceptor{interceptor}})
			req := rpc.Raw(test.text)
			_, err := fail.Call(t.Context(), conn, &req, test.opts...)
			require.Error(t, err)
			out, in := client.span(t, fail.Name(), trace.SpanKindClient), server.span(t, fail.Name(), trace.SpanKindServer)
			require.Equal(t, sdktrace.Status{Code: codes.Error, Description: err.Error()}, out.Status)
			require.Equal(t, sdktrace.Status{Code: test.server, Description: test.description}, in.Status)
			require.Equal(t, test.code, attrs(out)["error.type"])
			require.Equal(t, test.code, attrs(out)["rpc.response.status_code"])
			require.Equal(t, test.execution, attrs(out)["trunkline.rpc.execution"])
			require.Equal(t, test.code, attrs(in)["rpc.response.status_code"])
			require.Equal(t, test.server == codes.Error, attrs(in)["error.type"] != "")
			n, _ := client.values(t, "rpc.client.call.duration", fail.Name(), test.code)
			require.Equal(t, uint64(1), n)
			n, _ = server.values(t, "rpc.server.call.duration", fail.Name(), test.code)
			require.Equal(t, uint64(1), n)
		}
	})
}

// What a handler calls with its context belongs to the trace of its own caller, also when it calls back; so does baggage.
func TestATraceGoesOnThroughHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		propagator := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
		tel, interceptor := newTelemetry(t, propagator)
		both := rpc.Config{Interceptors: []rpc.Interceptor{interceptor}}
		mux := rpc.NewMux(both)
		rpc.Handle(mux, nested, func(ctx context.Context, req *rpc.Raw) (*rpc.Raw, error) {
			back := rpc.NewClient(transport.SessionFrom(ctx), rpc.ClientConfig{Interceptors: both.Interceptors})
			return double.Call(ctx, back, req)
		})
		own := rpc.NewMux(both)
		rpc.Handle(own, double, func(ctx context.Context, req *rpc.Raw) (*rpc.Raw, error) {
			user := rpc.Raw(baggage.FromContext(ctx).Member("user").Value())
			return &user, nil
		})
		conn := rpc.NewClient(start(t, mux, own), rpc.ClientConfig{Interceptors: both.Interceptors})
		member, err := baggage.NewMember("user", "alice")
		require.NoError(t, err)
		bag, err := baggage.New(member)
		require.NoError(t, err)
		res, err := nested.Call(baggage.ContextWithBaggage(t.Context(), bag), conn, &rpc.Raw{})
		require.NoError(t, err)
		require.Equal(t, "alice", string(*res))

		var parent trace.SpanContext
		for _, at := range []struct {
			method string
			kind   trace.SpanKind
		}{
			{nested.Name(), trace.SpanKindClient},
			{nested.Name(), trace.SpanKindServer},
			{double.Name(), trace.SpanKindClient},
			{double.Name(), trace.SpanKindServer},
		} {
			span := tel.span(t, at.method, at.kind)
			require.Equal(t, parent.SpanID(), span.Parent.SpanID())
			if parent.IsValid() {
				require.Equal(t, parent.TraceID(), span.SpanContext.TraceID())
			}
			parent = span.SpanContext
		}
	})
}

// A server whose propagator extracts nothing begins traces of its own, and a stream that is given up has its span's end.
func TestWhatPeersSayOfATraceMayBeIgnoredAndASpanEndsWithItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, interceptor := newTelemetry(t, propagation.TraceContext{})
		server, serving := newTelemetry(t, propagation.NewCompositeTextMapPropagator())
		session := start(t, newMux(rpc.Config{Interceptors: []rpc.Interceptor{serving}}), rpc.NewMux(rpc.Config{}))
		conn := rpc.NewClient(session, rpc.ClientConfig{Interceptors: []rpc.Interceptor{interceptor}})
		s, err := chat.Call(t.Context(), conn)
		require.NoError(t, err)
		require.NoError(t, s.Send(&rpc.Raw{1}))
		time.Sleep(time.Second)
		require.Empty(t, client.spans.GetSpans())
		s.Close()
		time.Sleep(time.Second)
		out, in := client.span(t, chat.Name(), trace.SpanKindClient), server.span(t, chat.Name(), trace.SpanKindServer)
		require.Equal(t, "Canceled", attrs(out)["error.type"])
		require.Equal(t, codes.Unset, in.Status.Code)
		require.Equal(t, "Canceled", attrs(in)["rpc.response.status_code"])
		require.NotEqual(t, out.SpanContext.TraceID(), in.SpanContext.TraceID())
		require.False(t, in.Parent.IsValid())
	})
}
