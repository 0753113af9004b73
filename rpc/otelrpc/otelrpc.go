package otelrpc

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/trunkline-go/trunkline/rpc"
)

const (
	// ScopeName is the name of the instrumentation scope.
	ScopeName = "github.com/trunkline-go/trunkline/rpc/otelrpc"
	// SchemaURL says which version of the semantic conventions is kept to.
	SchemaURL = semconv.SchemaURL

	system       = "trunkline"
	executionKey = attribute.Key("trunkline.rpc.execution")
)

// Config configures [New]. What is nil is OpenTelemetry's global one, which does nothing until the program has set it.
type Config struct {
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	Propagator     propagation.TextMapPropagator
}

// New returns an interceptor that traces and measures calls, for either side. It belongs before others, so that it
// sees what they refuse. The error is the meter provider's, which does not want one of the instruments.
func New(cfg Config) (rpc.Interceptor, error) {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = otel.GetTextMapPropagator()
	}
	i := &interceptor{
		tracer:     cfg.TracerProvider.Tracer(ScopeName, trace.WithSchemaURL(SchemaURL)),
		propagator: cfg.Propagator,
	}
	meter := cfg.MeterProvider.Meter(ScopeName, metric.WithSchemaURL(SchemaURL))
	clientDuration, err1 := rpcconv.NewClientCallDuration(meter)
	serverDuration, err2 := rpcconv.NewServerCallDuration(meter)
	client, err3 := newInstruments(meter, "client", clientDuration.Inst())
	server, err4 := newInstruments(meter, "server", serverDuration.Inst())
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	i.client, i.server = client, server
	return i.intercept, nil
}

// instruments are those of one side.
type instruments struct {
	duration          metric.Float64Histogram
	request, response metric.Int64Histogram
}

func newInstruments(meter metric.Meter, side string, duration metric.Float64Histogram) (instruments, error) {
	request, err1 := meter.Int64Histogram("rpc."+side+".request.size", metric.WithUnit("By"),
		metric.WithDescription("Measures the size of RPC request messages (uncompressed)."))
	response, err2 := meter.Int64Histogram("rpc."+side+".response.size", metric.WithUnit("By"),
		metric.WithDescription("Measures the size of RPC response messages (uncompressed)."))
	return instruments{duration, request, response}, errors.Join(err1, err2)
}

type interceptor struct {
	tracer         trace.Tracer
	propagator     propagation.TextMapPropagator
	client, server instruments
}

func (i *interceptor) intercept(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
	call := []attribute.KeyValue{semconv.RPCSystemNameKey.String(system), semconv.RPCMethod(c.Method)}
	kind, side := trace.SpanKindServer, &i.server
	sent, received := side.response, side.request
	if c.Caller {
		kind, side = trace.SpanKindClient, &i.client
		sent, received = side.request, side.response
	} else {
		ctx = i.propagator.Extract(ctx, (*carrier)(&c.Metadata))
	}
	began := time.Now()
	ctx, span := i.tracer.Start(ctx, c.Method, trace.WithSpanKind(kind), trace.WithTimestamp(began),
		trace.WithAttributes(call...), trace.WithAttributes(address(c)...))
	if c.Caller {
		i.propagator.Inject(ctx, (*carrier)(&c.Metadata))
	}
	sizes := metric.WithAttributeSet(attribute.NewSet(call...))
	if sent.Enabled(ctx) {
		c.OnSend(func(_ any, size int) error { sent.Record(ctx, int64(size), sizes); return nil })
	}
	if received.Enabled(ctx) {
		c.OnReceive(func(_ any, size int) error { received.Record(ctx, int64(size), sizes); return nil })
	}

	err := error(rpc.Errorf(rpc.Internal, "panicked"))
	defer func() { // also when an interceptor within panics
		end := call
		code := rpc.CodeOf(err)
		end = append(end, semconv.RPCResponseStatusCode(code.String()))
		if isError(c, code) {
			end = append(end, semconv.ErrorTypeKey.String(code.String()))
			span.SetStatus(codes.Error, err.Error())
		}
		span.SetAttributes(end[len(call):]...)
		if e, ok := errors.AsType[*rpc.Error](err); ok && c.Caller {
			span.SetAttributes(executionKey.String(e.Execution.String()))
		}
		span.End()
		side.duration.Record(ctx, time.Since(began).Seconds(), metric.WithAttributeSet(attribute.NewSet(end...)))
	}()
	err = next(ctx)
	return err
}

// isError says whether a call that ended with the code is one that failed. To the server those have not that a caller
// may cause, as the conventions say for gRPC, whose codes they are.
func isError(c *rpc.Call, code rpc.Code) bool {
	switch code {
	case rpc.OK:
		return false
	case rpc.Unknown, rpc.DeadlineExceeded, rpc.Unimplemented, rpc.Internal, rpc.Unavailable, rpc.DataLoss:
		return true
	default:
		return c.Caller
	}
}

// address returns where the peer of a call is, as far as that is known when it begins.
func address(c *rpc.Call) []attribute.KeyValue {
	if c.Peer.Addr == nil {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Peer.Addr.String())
	if err != nil {
		return nil
	}
	attrs := []attribute.KeyValue{semconv.NetworkPeerAddress(host), semconv.NetworkTransportQUIC}
	n, err := strconv.Atoi(port)
	if err == nil {
		attrs = append(attrs, semconv.NetworkPeerPort(n))
	}
	if c.Caller {
		attrs = append(attrs, semconv.ServerAddress(host))
		if err == nil {
			attrs = append(attrs, semconv.ServerPort(n))
		}
	}
	return attrs
}
