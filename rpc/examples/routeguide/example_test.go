package routeguide_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/certs"
	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/examples/routeguide"
	"github.com/trunkline-go/trunkline/rpc/examples/routeguide/routeguiderpc"
	"github.com/trunkline-go/trunkline/transport"
)

// A guide serves routeguide.RouteGuide. That it has every method is seen where it is registered.
type guide struct {
	features []*routeguide.Feature

	mu    sync.Mutex                           // guards what follows
	notes map[[2]int32][]*routeguide.RouteNote // by place
}

func (g *guide) GetFeature(_ context.Context, at *routeguide.Point) (*routeguide.Feature, error) {
	for _, f := range g.features {
		if proto.Equal(f.GetLocation(), at) {
			return f, nil
		}
	}
	return &routeguide.Feature{Location: at}, nil
}

func (g *guide) ListFeatures(_ context.Context, area *routeguide.Rectangle, out *rpc.Sender[routeguide.Feature]) error {
	for _, f := range g.features {
		if inside(f.GetLocation(), area) {
			if err := out.Send(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *guide) RecordRoute(ctx context.Context, route *rpc.Receiver[routeguide.Point]) (*routeguide.RouteSummary, error) {
	start := time.Now()
	var sum routeguide.RouteSummary
	var metres float64
	var last *routeguide.Point
	for point, err := range route.All() { // in gRPC, Recv until io.EOF, which works here too
		if err != nil {
			return nil, err
		}
		sum.PointCount++
		if f, _ := g.GetFeature(ctx, point); f.GetName() != "" {
			sum.FeatureCount++
		}
		if last != nil {
			metres += distance(last, point)
		}
		last = point
	}
	sum.Distance = int32(math.Round(metres))
	sum.ElapsedTime = int32(time.Since(start).Seconds())
	return &sum, nil // in gRPC, SendAndClose
}

func (g *guide) RouteChat(_ context.Context, chat *rpc.Stream[routeguide.RouteNote, routeguide.RouteNote]) error {
	for note, err := range chat.All() {
		if err != nil {
			return err
		}
		for _, earlier := range g.leave(note) {
			if err := chat.Send(earlier); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave adds a note, and returns those that were there before it.
func (g *guide) leave(note *routeguide.RouteNote) []*routeguide.RouteNote {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := [2]int32{note.GetLocation().GetLatitude(), note.GetLocation().GetLongitude()}
	earlier := slices.Clone(g.notes[at])
	g.notes[at] = append(g.notes[at], note)
	return earlier
}

func inside(p *routeguide.Point, area *routeguide.Rectangle) bool {
	lo, hi := area.GetLo(), area.GetHi()
	between := func(x, a, b int32) bool { return min(a, b) <= x && x <= max(a, b) }
	return between(p.GetLatitude(), lo.GetLatitude(), hi.GetLatitude()) &&
		between(p.GetLongitude(), lo.GetLongitude(), hi.GetLongitude())
}

// distance is the haversine formula's, in metres.
func distance(a, b *routeguide.Point) float64 {
	const radius, degree = 6_371_000, math.Pi / 180 / 1e7
	sin2 := func(from, to int32) float64 {
		s := math.Sin(float64(to-from) * degree / 2)
		return s * s
	}
	cos := func(p *routeguide.Point) float64 { return math.Cos(float64(p.GetLatitude()) * degree) }
	h := sin2(a.GetLatitude(), b.GetLatitude()) + cos(a)*cos(b)*sin2(a.GetLongitude(), b.GetLongitude())
	return 2 * radius * math.Asin(math.Sqrt(h))
}

func at(latitude, longitude int32) *routeguide.Point {
	return &routeguide.Point{Latitude: latitude, Longitude: longitude}
}

// travel makes a call of each kind.
func travel(ctx context.Context, client routeguiderpc.RouteGuideClient) error {
	feature, err := client.GetFeature(ctx, at(47_3667000, 8_5500000))
	if err != nil {
		return err
	}
	fmt.Println("here is:", feature.GetName())

	features, err := client.ListFeatures(ctx, &routeguide.Rectangle{Lo: at(46_0000000, 7_0000000), Hi: at(48_0000000, 9_0000000)})
	if err != nil {
		return err
	}
	for feature, err := range features.All() {
		if err != nil {
			return err
		}
		fmt.Println("on the map:", feature.GetName())
	}

	route := []*routeguide.Point{at(47_3667000, 8_5500000), at(46_9480000, 7_4474000), at(46_2044000, 6_1432000)}
	summary, err := client.RecordRoute(ctx, slices.Values(route))
	if err != nil {
		return err
	}
	fmt.Printf("%d points, %d features, %d km\n", summary.GetPointCount(), summary.GetFeatureCount(), summary.GetDistance()/1000)

	chat, err := client.RouteChat(ctx)
	if err != nil {
		return err
	}
	go func() { // sending does not wait for what comes back
		for _, text := range []string{"first", "second", "third"} {
			if chat.Send(&routeguide.RouteNote{Location: at(0, 1), Message: text}) != nil {
				return // the loop below is told why
			}
		}
		_ = chat.CloseSend()
	}()
	for note, err := range chat.All() {
		if err != nil {
			return err
		}
		fmt.Println("was there:", note.GetMessage())
	}
	return nil
}

// Both sides of gRPC's tutorial, in one process.
func Example() {
	authority, err := certs.NewAuthority(certs.Env{})
	if err != nil {
		panic(err)
	}
	serverCredentials, err := authority.IssueServer([]string{"localhost"})
	if err != nil {
		panic(err)
	}
	alice, err := authority.IssueUser("alice")
	if err != nil {
		panic(err)
	}

	mux := rpc.NewMux(rpc.Config{})
	routeguiderpc.RegisterRouteGuideHandler(mux, &guide{
		features: []*routeguide.Feature{
			{Name: "Zürich", Location: at(47_3667000, 8_5500000)},
			{Name: "Bern", Location: at(46_9480000, 7_4474000)},
			{Name: "Genève", Location: at(46_2044000, 6_1432000)},
		},
		notes: make(map[[2]int32][]*routeguide.RouteNote),
	})
	server, err := transport.Listen(&transport.Config{
		Credentials: serverCredentials,
		Addr:        "127.0.0.1:0",
		Handlers:    map[transport.StreamType]transport.Handler{transport.StreamRPC: mux.ServeStream},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = server.Close() }()
	go func() { _ = server.Serve(context.Background()) }()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	session, err := transport.Dial(ctx, server.Addr().String(), &transport.Config{Credentials: alice})
	if err != nil {
		panic(err)
	}
	defer func() { _ = session.Release(ctx) }()
	if err := travel(ctx, routeguiderpc.NewRouteGuideClient(session)); err != nil {
		panic(err)
	}
	// Output:
	// here is: Zürich
	// on the map: Zürich
	// on the map: Bern
	// 3 points, 3 features, 224 km
	// was there: first
	// was there: first
	// was there: second
}
