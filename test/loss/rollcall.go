package loss

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// A rollcall is a balancer that render keeps, with an etcd of its own.
type rollcall struct {
	dir, extension string
	listen, status string
	etcd           *store

	mu      sync.Mutex
	latest  discovery.Acknowledgement
	changed chan struct{} // closed when there is a newer one
}

var _ balancer = (*rollcall)(nil)

// startRollcall returns when render is ready and its acknowledgements are followed.
func startRollcall(ctx context.Context, tb testing.TB, program string, w Way) (*rollcall, error) {
	dir, err := directory(tb)
	if err != nil {
		return nil, err
	}
	r := &rollcall{
		dir: dir, extension: extension(w.Proxy), listen: ports.Address(tb), status: ports.Address(tb), changed: make(chan struct{}),
	}
	if err := os.Mkdir(r.dropIns(), 0o755); err != nil {
		return nil, err
	}
	endpoint := "http://" + ports.Address(tb)
	args := []string{
		w.Proxy, "--supervise", "--embed-etcd", tb.TempDir(), "--endpoints", endpoint, "--listen", r.listen,
		"--run-dir", r.dir, "--drop-in", r.dropIns(), "--status-listen", r.status, "--log-format", "text",
	}
	if w.Proxy == "apache" {
		args = append(args, "--control", ports.Address(tb))
	}
	if _, err := launch(tb, nil, program, append(args, w.Flags...)...); err != nil {
		return nil, err
	}
	err = poll(ctx, "render is ready", func() error {
		_, err := r.ask("/readyz")
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.etcd, err = dial(tb, endpoint); err != nil {
		return nil, err
	}
	return r, r.follow(ctx, tb)
}

func (r *rollcall) address() string { return r.listen }
func (r *rollcall) store() *store   { return r.etcd }
func (r *rollcall) dropIns() string { return filepath.Join(r.dir, "drop-in") }

// follow keeps the latest acknowledgement at hand until the test is over.
func (r *rollcall) follow(ctx context.Context, tb testing.TB) error {
	prefix := discovery.RenderersPrefix + "/"
	now, err := r.etcd.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for _, kv := range now.Kvs {
		r.take(string(kv.Key), kv.Value)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for res := range r.etcd.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(now.Header.Revision+1)) {
			for _, e := range res.Events {
				r.take(string(e.Kv.Key), e.Kv.Value)
			}
		}
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	return nil
}

func (r *rollcall) take(key string, value []byte) {
	a, err := discovery.DecodeAcknowledgement(key, value)
	if err != nil {
		return // deleted, when render ends
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = *a
	close(r.changed)
	r.changed = make(chan struct{})
}

// said waits until render's acknowledgement is as wanted.
func (r *rollcall) said(ctx context.Context, what string, ok func(*discovery.Acknowledgement) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		r.mu.Lock()
		latest, changed := r.latest, r.changed
		r.mu.Unlock()
		if ok(&latest) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: not acknowledged; the latest is %+v", what, latest)
		}
	}
}

func (r *rollcall) applied(ctx context.Context, revision int64) error {
	return r.said(ctx, fmt.Sprintf("revision %d is applied", revision), func(a *discovery.Acknowledgement) bool { return a.Applied >= revision })
}

func (r *rollcall) drained(ctx context.Context, revision int64) error {
	return r.said(ctx, fmt.Sprintf("revision %d is drained", revision), func(a *discovery.Acknowledgement) bool { return a.Drained >= revision })
}

// withdrawn has nothing left to do: announce returned when render had let go.
func (r *rollcall) withdrawn(context.Context) error { return nil }

func (r *rollcall) dropIn(ctx context.Context, content string) error {
	before, err := r.reloads()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.dropIns(), "test"+r.extension), []byte(content), 0o644); err != nil {
		return err
	}
	return poll(ctx, "a drop-in is served", func() error {
		now, err := r.reloads()
		if err == nil && now == before {
			err = fmt.Errorf("still %d reloads", now)
		}
		return err
	})
}

var reloadsTotal = regexp.MustCompile(`(?m)^rollcall_render_reloads_total(?:{[^}]*})? ([0-9.e+]+)$`)

func (r *rollcall) reloads() (int, error) {
	metrics, err := r.ask("/metrics")
	if err != nil {
		return 0, err
	}
	match := reloadsTotal.FindStringSubmatch(metrics)
	if match == nil {
		return 0, errors.New("render tells no number of reloads")
	}
	n, err := strconv.ParseFloat(match[1], 64)
	return int(n), err
}

func (r *rollcall) ask(path string) (string, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + r.status + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}
