package renderer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

const (
	// maxDraining bounds the revisions that are waited for at once.
	maxDraining = 64
	// maxSkipped and maxError bound, in bytes, what an acknowledgement tells: readers
	// refuse one above 64 KiB, and would wait for its renderer no longer. The status
	// tells everything.
	maxSkipped = 32 << 10
	maxError   = 1 << 10
	// maxNamed bounds how many instances one line of the log names.
	maxNamed = 20
)

// A moment is a revision in one of the histories that etcd has had.
type moment struct {
	history  int
	revision int64
}

// served notes and acknowledges that every worker that accepts follows revision.
func (r *Renderer) served(c *discovery.Catalog, generation string, skipped []string, o reload.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = ""
	r.metrics.served(o)
	r.metrics.revision.Set(float64(c.Revision))
	r.restart(c.Revision)
	r.ack.Applied, r.ack.Generation, r.ack.Healthy, r.ack.LastError = c.Revision, generation, true, ""
	r.ack.Skipped = bounded(skipped)
	r.ack.More = len(r.ack.Skipped) < len(skipped)
	r.cfg.Acknowledger.Set(r.ack)

	var news []string
	for _, id := range skipped {
		if _, known := slices.BinarySearch(r.status.Skipped, id); !known {
			news = append(news, id)
		}
	}
	if len(news) > 0 {
		r.cfg.Logger.Warn("instances are in the catalog but cannot be routed to", "instances", news[:min(len(news), maxNamed)], "new", len(news), "skipped", len(skipped))
	}
	r.status.served(c, generation, o, time.Now())
	r.status.Drained, r.status.Skipped = r.ack.Drained, slices.Sorted(slices.Values(skipped))
}

// restart forgets what was proven when the revision goes back: etcd was restored, and
// its revisions from here on are others than those that were acknowledged.
func (r *Renderer) restart(revision int64) {
	if revision < r.ack.Applied {
		r.history++
		r.ack.Applied, r.ack.Drained = 0, 0
		r.status.Drained = 0
	}
}

// drain acknowledges revision as drained once the workers of older configurations
// are gone. Long connections may take hours: the wait is bounded in number, and the
// periodic check takes up what did not find a place.
func (r *Renderer) drain(ctx context.Context, revision int64, old reload.Workers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := moment{r.history, revision}
	if r.ack.Drained >= revision || r.draining[m] || len(r.draining) >= maxDraining {
		return
	}
	r.draining[m] = true
	r.waits.Go(func() {
		err := old.Wait(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.draining, m)
		if err == nil && m.history == r.history && revision > r.ack.Drained {
			r.ack.Drained, r.status.Drained = revision, revision
			r.cfg.Acknowledger.Set(r.ack)
		}
	})
}

// failed notes why the newest catalog is not served, and says so when the reason is new.
func (r *Renderer) failed(ctx context.Context, c *discovery.Catalog, generation string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	attrs := []any{"revision", c.Revision, "err", err}
	reason, same := err.Error(), err.Error()
	if step, ok := errors.AsType[*reload.StepError](err); ok && step.Output != "" {
		attrs = append(attrs, "output", step.Output)
		reason += "\n" + step.Output
		same += "\n" + withoutNumbers(step.Output)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.failed(c, generation, reason, time.Now())
	r.metrics.failures.Inc()
	r.restart(c.Revision)
	r.ack.Healthy, r.ack.LastError = false, shortened(firstLine(reason))
	r.cfg.Acknowledger.Set(r.ack)
	if same != r.said {
		r.said = same
		r.cfg.Logger.Error("configuration is not in service; the last good one stays, retrying", attrs...)
	}
	return err
}

// withoutNumbers makes two messages of a server equal that differ in times and
// process ids only. Line numbers go with them; the status has those.
func withoutNumbers(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, s)
}

func bounded(list []string) []string {
	room := maxSkipped
	for n, s := range list {
		if room -= len(s) + len(`"",`); room < 0 {
			return list[:n]
		}
	}
	return list
}

func shortened(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxError)], "")
}
