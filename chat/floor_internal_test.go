package chat

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-go/trunkline/chat/floor"
	"github.com/trunkline-go/trunkline/chat/internal/chatpb"
)

// The body of a record of the floor is the message Floor of chat.proto, although package floor does not know that.
func TestATransitionIsTheMessageFloor(t *testing.T) {
	tr := floor.Transition{
		Request: 300, To: floor.Granted, Why: floor.ByChair, Who: "alice", By: "bob", Priority: floor.High, Producer: floor.Producer{1},
		Text: "why", Place: 5, Grant: 9, Time: 1_900_000_000_000_000_000, Holder: "alice", Number: 9, Queue: []string{"carol", "", "dave"},
	}
	want := &chatpb.Floor{
		Request: 300, State: chatpb.Floor_STATE_GRANTED, Why: chatpb.Floor_WHY_CHAIR, Who: "alice", By: "bob", Priority: 3, Producer: tr.Producer[:],
		Text: "why", Place: 5, Grant: 9, Time: 1_900_000_000_000_000_000, Holder: "alice", HolderGrant: 9, Queue: []string{"carol", "", "dave"},
	}
	var got chatpb.Floor
	require.NoError(t, proto.Unmarshal(tr.Encode(), &got))
	assert.True(t, proto.Equal(want, &got), "%v", &got)
	b, err := proto.Marshal(want)
	require.NoError(t, err)
	decoded, err := floor.DecodeTransition(b)
	require.NoError(t, err)
	assert.Equal(t, tr, decoded)
	for s := floor.Pending; s <= floor.Here+1; s++ {
		name, known := chatpb.Floor_State_name[int32(s)]
		assert.Equal(t, known, s.String() != "unknown", name)
	}
	for w := floor.Asked; w <= floor.Barred+1; w++ {
		_, known := chatpb.Floor_Why_name[int32(w)]
		assert.Equal(t, known, w.String() != "unknown", w.String())
	}
	e := floorEvent(b)
	assert.Equal(t, &Floor{
		State: FloorGranted, Who: "alice", By: "bob", Why: "chair", Reason: "why", Request: 300, Place: 5, Grant: 9,
		Holder: "alice", Queue: []string{"carol", "", "dave"},
	}, e)
	assert.Nil(t, floorEvent([]byte("\xff")))
}
