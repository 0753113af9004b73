package interceptor

import (
	"container/list"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline-go/trunkline/rpc"
)

// RateLimitConfig configures [RateLimit]. PerSecond must be set.
type RateLimitConfig struct {
	// PerSecond is how many calls of a key there may be in a second, over time. Zero or less: none but the first Burst.
	PerSecond float64

	// Burst is how many may come at once. Default: as many as come in a second, and at least one.
	Burst int

	// Key says which calls share a limit; those of "" have none. Default: the calls of one identity to one method.
	Key func(c *rpc.Call) string

	// MaxKeys is how many keys are remembered. Beyond it the one that was used longest ago is forgotten, and may
	// begin with a new burst. Default: 10,000, which take about 3 MB.
	MaxKeys int
}

// RateLimit refuses calls that come too often, with ResourceExhausted. They have not started, and RetryAfter says when the
// next would be let through, if no others came. It limits by a token
// bucket for each key (see golang.org/x/time/rate), and is mostly for the serving side; several with different
// keys add up.
func RateLimit(cfg RateLimitConfig) rpc.Interceptor {
	if cfg.Burst == 0 {
		cfg.Burst = max(1, int(cfg.PerSecond))
	}
	if cfg.Key == nil {
		cfg.Key = identityAndMethod
	}
	if cfg.MaxKeys == 0 {
		cfg.MaxKeys = 10_000
	}
	t := &limits{cfg: cfg, byKey: make(map[string]*list.Element)}
	return func(ctx context.Context, c *rpc.Call, next func(context.Context) error) error {
		if key := cfg.Key(c); key != "" {
			if after, ok := t.allow(key); !ok {
				err := rpc.Errorf(rpc.ResourceExhausted, "too many calls of %s", c.Method)
				err.RetryAfter = after
				return err
			}
		}
		return next(ctx)
	}
}

// identityAndMethod is the default of [RateLimitConfig.Key].
func identityAndMethod(c *rpc.Call) string { return c.Peer.ID.String() + " " + c.Method }

// limits are the limits of many keys.
type limits struct {
	cfg RateLimitConfig

	mu    sync.Mutex // guards what follows
	byKey map[string]*list.Element
	used  list.List // of *limit, the last used first
}

type limit struct {
	key    string
	bucket *rate.Limiter
}

// allow takes a token of key's bucket, or says when there will be one; it is negative if never.
func (t *limits) allow(key string) (after time.Duration, ok bool) {
	now := time.Now()
	r := t.bucket(key).ReserveN(now, 1)
	if !r.OK() {
		return -1, false
	}
	if after = r.DelayFrom(now); after > 0 {
		r.CancelAt(now)
		return min(after, maxRetryAfter), false
	}
	return 0, true
}

// maxRetryAfter is the longest wait that is told; to a rate of nothing there is no end of it.
const maxRetryAfter = time.Hour

func (t *limits) bucket(key string) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.byKey[key]; e != nil {
		t.used.MoveToFront(e)
		return e.Value.(*limit).bucket //nolint:errcheck // nothing else is in it
	}
	for len(t.byKey) >= t.cfg.MaxKeys && t.used.Len() > 0 {
		oldest := t.used.Remove(t.used.Back()).(*limit) //nolint:errcheck // nothing else is in it
		delete(t.byKey, oldest.key)
	}
	l := &limit{key, rate.NewLimiter(rate.Limit(t.cfg.PerSecond), t.cfg.Burst)}
	t.byKey[key] = t.used.PushFront(l)
	return l.bucket
}
