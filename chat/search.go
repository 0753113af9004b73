package chat

import (
	"context"
	"errors"
	"math"

	"github.com/trunkline-go/trunkline/chat/query"
	"github.com/trunkline-go/trunkline/rpc"
)

// Search finds texts of a room by their words, in the language of package query. It needs no membership: who may read the room now may call
// it. A server whose log is no [Searcher] answers Unimplemented.
var Search = rpc.Unary[SearchRequest, SearchResponse]("trunkline.Chat/Search", rpc.Idempotent())

// A SearchRequest asks for texts.
type SearchRequest struct {
	Room   string  `json:"room"`
	Query  string  `json:"query"`
	Before *uint64 `json:"before,omitempty"` // of those before this seq; default all
	Limit  int     `json:"limit,omitempty"`  // most hits; 0: 50; at most 500
}

// A SearchResponse is what was found. It has fewer hits than were asked for where there are no more, and where more would
// make it longer than 3 MiB; one at least, if there is one.
type SearchResponse struct {
	Room  string          `json:"room"`
	Epoch uint64          `json:"epoch"`
	Hits  []HistoryRecord `json:"hits"` // the newest first
	More  bool            `json:"more"` // there are, before the last
}

func (srv *Server) search(ctx context.Context, req *SearchRequest) (*SearchResponse, error) {
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	q, err := query.Parse(req.Query)
	if err != nil {
		return nil, rpc.Errorf(rpc.InvalidArgument, "query: %s", err)
	}
	state, _, err := srv.visible(ctx, req.Room)
	if err != nil {
		return nil, answer(err)
	}
	searcher, ok := srv.cfg.Log.(Searcher)
	if !ok {
		return nil, rpc.Errorf(rpc.Unimplemented, "the log of this server can't be searched")
	}
	who, _, err := srv.caller(ctx)
	if err != nil {
		return nil, err
	}
	done, err := srv.turns.take(ctx, who)
	if err != nil {
		return nil, err
	}
	defer done()
	before := uint64(math.MaxUint64)
	if req.Before != nil {
		before = *req.Before
	}
	records, more, err := searcher.Search(ctx, req.Room, q, state.First, before, limit, maxPageBytes/worstByte)
	if _, known := errors.AsType[*Error](err); known {
		return nil, answer(err)
	}
	if err != nil {
		if ctx.Err() == nil {
			srv.log.Error("log failed", "room", req.Room, "doing", "search", "err", err)
		}
		return nil, rpc.Errorf(rpc.Unavailable, "the log does not answer")
	}
	p := &pager{place: maxPageBytes}
	res := &SearchResponse{Room: req.Room, Epoch: state.Epoch(), Hits: []HistoryRecord{}, More: more}
	for i := range records {
		if res.Hits, ok = p.take(res.Hits, &records[i]); !ok {
			res.More = true
			break
		}
	}
	return res, nil
}
