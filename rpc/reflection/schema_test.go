package reflection_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand" //nolint:depguard // testing/quick takes it
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/quick"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trunkline-go/trunkline/rpc"
	"github.com/trunkline-go/trunkline/rpc/reflection"
)

// The types whose schemas are in testdata/golden.
type (
	scalars struct {
		Bool   bool `json:"bool"`
		Int    int  `json:"int"`
		I8     int8
		I16    int16
		I32    int32
		I64    int64
		Uint   uint
		U8     uint8
		U16    uint16
		U32    uint32
		U64    uint64
		F32    float32
		F64    float64
		String string
	}
	options struct {
		Skipped   string         `json:"-"`
		Dash      string         `json:"-,"`   //nolint:staticcheck // encoding/json takes it in its own way
		BadName   string         `json:"a\"b"` //nolint:staticcheck // encoding/json takes it in its own way
		Empty     []string       `json:"empty,omitempty"`
		EmptyMap  map[string]int `json:",omitempty"`
		EmptyAny  any            `json:",omitempty"`
		NoEmpty   inner          `json:",omitempty"` //nolint:modernize // a struct never is empty
		Zero      inner          `json:"zero,omitzero"`
		ZeroTime  time.Time      `json:",omitzero"`
		Quoted    int            `json:",string"`
		QuotedPtr *bool          `json:",string"`
		QuotedStr string         `json:",string"`
		NotQuoted []int          `json:",string"` //nolint:staticcheck // encoding/json takes it in its own way
		Pointer   *int           `json:"pointer"`
		EmptyPtr  *inner         `json:"empty_ptr,omitempty"`
		PtrPtr    **string       `json:"ptr_ptr"`
		hidden    int            //nolint:unused // it is not in the schema, either
	}
	inner struct {
		A string `json:"a"`
	}
	collections struct {
		Strings  []string         `json:"strings"`
		Bytes    []byte           `json:"bytes"`
		Array    [3]int           `json:"array"`
		Octets   [2]byte          `json:"octets"`
		Map      map[string]inner `json:"map"`
		ByInt    map[int]string   `json:"by_int"`
		ByUint   map[uint8]bool   `json:"by_uint"`
		ByText   map[level]*inner `json:"by_text"`
		Nested   [][]inner        `json:"nested"`
		NamedMap labels           `json:"named_map"`
		Anon     struct {
			B bool `json:"b"`
		} `json:"anon"`
	}
	labels map[string]string
	// level is written as text.
	level uint8

	special struct {
		Time     time.Time       `json:"time"`
		TimePtr  *time.Time      `json:"time_ptr"`
		Duration time.Duration   `json:"duration"`
		Raw      json.RawMessage `json:"raw"`
		Any      any             `json:"any"`
		Addr     netip.Addr      `json:"addr"`
		Levels   []level         `json:"levels"` // no base64: each is text
		Number   json.Number     `json:"number"`
		Own      own             `json:"own"`
		ReadOnly readOnly        `json:"read_only"`
		Func     func()          `json:"func"`
		Complex  complex128      `json:"complex"`
		Keys     map[float64]int `json:"keys"`
	}
	// own encodes itself.
	own struct{ N int }
	// readOnly encodes itself, and is decoded as a struct.
	readOnly struct {
		N int `json:"n"`
	}

	tree struct {
		Name     string           `json:"name"`
		Children []*tree          `json:"children"`
		By       map[string]other `json:"by,omitempty"`
		Forest   forest           `json:"forest"`
	}
	other struct {
		Back *tree  `json:"back"`
		Self *other `json:"self,omitempty"`
	}
	forest []forest

	embedding struct {
		base
		*Optional
		Tagged `json:"tagged"`
		Scalar // no struct: a field
		left   // with right: Both cancels itself, Tag does not
		right
		Named   inner `json:"named"`
		Shadow  string
		Nothing *int `json:"-"`
	}
	base struct {
		ID     int `json:"id"`
		Shadow int // hidden by the one above
	}
	Optional struct {
		Extra string `json:"extra"`
	}
	Tagged struct{ X int }
	Scalar int
	left   struct {
		Both int
		Tag  int
	}
	right struct {
		Both   int
		Tagged string `json:"Tag"`
	}

	page[T any] struct {
		Items []T    `json:"items"`
		Next  string `json:"next"`
	}
)

func (level) MarshalText() ([]byte, error)    { return []byte("debug"), nil }
func (*level) UnmarshalText([]byte) error     { return nil }
func (own) MarshalJSON() ([]byte, error)      { return []byte(`[1]`), nil }
func (*own) UnmarshalJSON([]byte) error       { return nil }
func (readOnly) MarshalJSON() ([]byte, error) { return []byte(`"n"`), nil }

// describe returns the description of a method with messages of these types.
func describe[Req, Res any](t *testing.T) *reflection.DescribeResponse {
	t.Helper()
	mux := rpc.NewMux(rpc.Config{})
	rpc.Handle(mux, rpc.Unary[Req, Res]("test.Service/Method"), func(context.Context, *Req) (*Res, error) { return nil, nil })
	res, err := reflection.New(mux, reflection.Config{}).Describe(t.Context(), &reflection.DescribeRequest{Method: "test.Service/Method"})
	require.NoError(t, err)
	return res
}

// golden compares the schemas of T with the golden ones.
func golden[T any](t *testing.T, name string) {
	t.Run(name, func(t *testing.T) {
		d := describe[T, T](t)
		for direction, got := range map[string]json.RawMessage{"request": d.Request.Schema, "response": d.Response.Schema} {
			var text bytes.Buffer
			require.NoError(t, json.Indent(&text, got, "", "  "))
			text.WriteByte('\n')
			path := filepath.Join("testdata", "golden", name+"."+direction+".json")
			want, err := os.ReadFile(path)
			if errors.Is(err, os.ErrNotExist) {
				require.NoError(t, os.WriteFile(path, text.Bytes(), 0o600))
			}
			assert.NoError(t, err, "it is written anew where it is missing")
			assert.Equal(t, string(want), text.String(), path)
		}
	})
}

func TestSchemasAreGolden(t *testing.T) {
	golden[scalars](t, "scalars")
	golden[options](t, "options")
	golden[collections](t, "collections")
	golden[special](t, "special")
	golden[tree](t, "tree")
	golden[embedding](t, "embedding")
	golden[page[inner]](t, "generic")
	golden[labels](t, "named")
	golden[any](t, "any")
	golden[rpc.Raw](t, "raw")

	golden[everything](t, "proto_everything")
	golden[structpb.Struct](t, "proto_struct")
	golden[wrapperspb.Int64Value](t, "proto_int64value")
	golden[emptypb.Empty](t, "proto_empty")
	golden[anypb.Any](t, "proto_any")
}

// What a handler may return fits the schema of its response.
func TestEveryResponseFitsItsSchema(t *testing.T) {
	fits[scalars](t)
	fits[collections](t)
	fits[tree](t)
	fits[labels](t)
	fits[page[inner]](t)
	fits[struct {
		Empty    []string       `json:"empty,omitempty"`
		EmptyMap map[string]int `json:",omitempty"`
		EmptyPtr *inner         `json:",omitempty"`
		Zero     inner          `json:"zero,omitzero"`
		Quoted   *int           `json:",string"`
		Ptr      **inner
		Level    []level
		Own      *own
	}](t)

	d := describe[embedding, embedding](t)
	for _, m := range []embedding{{}, {Optional: &Optional{"x"}, base: base{ID: 1, Shadow: 2}, left: left{1, 2}, right: right{3, "x"}}} {
		text, err := json.Marshal(m)
		require.NoError(t, err)
		assert.NoError(t, validate(d.Response.Schema, text), "%s", text)
	}
}

func fits[T any](t *testing.T) {
	t.Helper()
	d := describe[T, T](t)
	random := rand.New(rand.NewSource(1))
	for range 200 {
		v, ok := quick.Value(reflect.TypeFor[T](), random)
		require.True(t, ok)
		text, err := json.Marshal(v.Interface())
		require.NoError(t, err)
		require.NoError(t, validate(d.Response.Schema, text), "%s\nof %s", text, d.Response.Schema)
	}
}

// A request that is refused for a field that the method does not have does not fit the schema, either.
func TestARequestsSchemaHasNoUnknownFields(t *testing.T) {
	d := describe[tree, tree](t)
	for text, ok := range map[string]bool{
		`{}`:                                           true,
		`{"name":"a","children":[{"name":"b"}]}`:       true,
		`{"nayme":"a"}`:                                false,
		`{"children":[{"nayme":"b"}]}`:                 false,
		`{"by":{"x":{"back":{"name":"c"}}}}`:           true,
		`{"by":{"x":{"back":{"name":1}}}}`:             false,
		`{"by":{"x":{"self":{"self":{"slef":null}}}}}`: false,
	} {
		assert.Equal(t, ok, validate(d.Request.Schema, []byte(text)) == nil, text)
	}
}
