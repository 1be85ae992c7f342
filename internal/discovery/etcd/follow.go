package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// checkInterval is how often a follower asks etcd for its revision. A watch on a
// server that was restored from a backup is silent until the revision it waits
// for comes round again; asking is the only way to notice.
const checkInterval = 5 * time.Second

// pageSize is how many keys are read at once: a listing of tens of thousands in one
// piece would need many times the memory that it comes to.
const pageSize = 4000

// An update is what a follower learned: the complete listing below its prefix,
// or the events since.
type update struct {
	listed   bool // what was known before is void
	partial  bool // of a listing of which the rest follows
	kvs      []*mvccpb.KeyValue
	events   []*clientv3.Event
	revision int64
	cluster  uint64 // whose listing it is; 0 with events
}

// A follower lists the keys below a prefix and watches them from the next
// revision on. On any doubt (compaction, another cluster's id, a revision that
// goes back, a closed stream) it lists again: events are hints, the listing is truth.
type follower struct {
	client *Client
	prefix string // with the closing slash
	health *health
	logger *slog.Logger
	check  time.Duration
	paged  bool // handle wants a long listing in parts
}

func newFollower(c *Client, prefix, what string, logger *slog.Logger) *follower {
	return &follower{client: c, prefix: prefix, health: newHealth(logger, what), logger: logger, check: checkInterval}
}

// run calls handle from one goroutine until ctx is done, whose error it returns.
func (f *follower) run(ctx context.Context, handle func(update)) error {
	b := newBackoff()
	for {
		err := f.once(ctx, handle, b.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.logger.Debug("listing again", "prefix", f.prefix, "err", err)
		if !f.client.pause(ctx, b.NextBackOff()) {
			return ctx.Err()
		}
	}
}

// list gets everything below the prefix at one revision.
func (f *follower) list(ctx context.Context, handle func(update)) (position, error) {
	var at position
	u := update{listed: true}
	options := []clientv3.OpOption{clientv3.WithRange(clientv3.GetPrefixRangeEnd(f.prefix)), clientv3.WithLimit(pageSize)}
	for key := f.prefix; ; {
		res, err := f.page(ctx, key, options)
		if err != nil {
			return at, fmt.Errorf("list %s: %w", f.prefix, err)
		}
		if u.revision == 0 {
			at = position{cluster: res.Header.ClusterId, revision: res.Header.Revision}
			u.revision, u.cluster = at.revision, at.cluster
			options = append(options, clientv3.WithRev(at.revision))
		}
		u.kvs = append(u.kvs, res.Kvs...)
		if !res.More {
			handle(u)
			return at, nil
		}
		key = string(res.Kvs[len(res.Kvs)-1].Key) + "\x00"
		if f.paged {
			u.partial = true
			handle(u)
			u = update{revision: at.revision, cluster: at.cluster}
		}
	}
}

func (f *follower) page(ctx context.Context, key string, options []clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return f.client.c.Get(ctx, key, options...)
}

// once lists and then watches until the first doubt, which it returns.
func (f *follower) once(ctx context.Context, handle func(update), progress func()) error {
	last, err := f.list(ctx, handle)
	f.note(ctx, err)
	if err != nil {
		return err
	}
	progress()

	// Without a leader the stream is to break rather than to be silent.
	watchCtx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	events := f.client.c.Watch(watchCtx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(last.revision+1))
	lost := f.connectionLost(watchCtx)
	check := time.NewTicker(f.check)
	defer check.Stop()
	checked := make(chan checkResult, 1)
	asking := false
	for {
		select {
		case w, ok := <-events:
			if !ok {
				return fmt.Errorf("watch %s: stream closed", f.prefix)
			}
			if err := w.Err(); err != nil {
				return fmt.Errorf("watch %s: %w", f.prefix, err)
			}
			if err := last.compare(w.Header); err != nil {
				return err
			}
			if n := len(w.Events); n > 0 {
				// Not the header's revision: while a watch catches up that is ahead of
				// what has been delivered, and nobody may claim to have seen it.
				last.revision = w.Events[n-1].Kv.ModRevision
				handle(update{events: w.Events, revision: last.revision})
			}
		case <-lost:
			return fmt.Errorf("watch %s: connection lost", f.prefix)
		case <-check.C:
			if !asking {
				asking = true
				go func(asked position) { checked <- f.ask(watchCtx, asked) }(last)
			}
		case c := <-checked:
			asking = false
			f.note(ctx, c.err)
			if c.err == nil {
				// Not last: what came while the question was under way is newer than the answer.
				if err := c.asked.compare(c.header); err != nil {
					return err
				}
			}
		}
	}
}

func (f *follower) note(ctx context.Context, err error) {
	if ctx.Err() == nil {
		f.health.set("list", err)
	}
}

// connectionLost gives a channel that is closed when no server is connected any
// more. What comes back may have another history, restored from a backup, which
// by the next check may have grown longer than the one known here; the client
// would resume the watch in it without a word.
func (f *follower) connectionLost(ctx context.Context) <-chan struct{} {
	lost := make(chan struct{})
	conn := f.client.c.ActiveConnection()
	if conn.GetState() != connectivity.Ready {
		close(lost)
		return lost
	}
	go func() {
		if conn.WaitForStateChange(ctx, connectivity.Ready) {
			close(lost)
		}
	}()
	return lost
}

type checkResult struct {
	asked  position // when the question was asked
	header *etcdserverpb.ResponseHeader
	err    error
}

// ask gets the header of a key that does not exist: the cheapest request that
// goes through the quorum.
func (f *follower) ask(ctx context.Context, asked position) checkResult {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := f.client.c.Get(ctx, f.prefix)
	if err != nil {
		return checkResult{err: fmt.Errorf("check %s: %w", f.prefix, err)}
	}
	return checkResult{asked: asked, header: res.Header}
}

// A position is the point in one cluster's history up to which a follower has seen everything.
type position struct {
	cluster  uint64
	revision int64
}

func (p *position) compare(h *etcdserverpb.ResponseHeader) error {
	if h.ClusterId != p.cluster {
		return fmt.Errorf("another cluster answers: id %x, was %x", h.ClusterId, p.cluster)
	}
	if h.Revision < p.revision {
		return fmt.Errorf("revision went back: %d, was %d", h.Revision, p.revision)
	}
	return nil
}
