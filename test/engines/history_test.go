package engines

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A record is what a reader of etcd finds, in full.
type record struct {
	Host, Version, Container string
	Port, Weight             int
	Started                  time.Time
	Meta                     map[string]string
}

func (r *record) endpoint() string { return net.JoinHostPort(r.Host, strconv.Itoa(r.Port)) }

// A history is everything that ever happened below a prefix of etcd.
type history struct {
	prefix string
	client *clientv3.Client

	mu      sync.Mutex
	events  []string          // "put KEY" and "delete KEY", without the prefix
	records map[string]record // by key, without the prefix
	err     error
}

// remember begins a history of a prefix that is the test's own, and empty.
func remember(t *testing.T) *history {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{testbed.etcd}, DialTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	prefix := "/" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + "/"
	h := &history{prefix: prefix, client: client, records: map[string]record{}}
	ctx, cancel := context.WithCancel(t.Context())
	changes := client.Watch(clientv3.WithRequireLeader(ctx), h.prefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-changes
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range changes {
			h.add(c)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *history) add(c clientv3.WatchResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range c.Events {
		key := strings.TrimPrefix(string(e.Kv.Key), h.prefix)
		h.events = append(h.events, strings.ToLower(e.Type.String())+" "+key)
		delete(h.records, key)
		if e.Type == clientv3.EventTypePut && key != mark {
			var r record
			if err := json.Unmarshal(e.Kv.Value, &r); err != nil {
				h.err = fmt.Errorf("%s: %w", key, err)
			}
			h.records[key] = r
		}
	}
	if err := c.Err(); err != nil && h.err == nil {
		h.err = err
	}
}

// mark is a key of the history's own.
const mark = "mark"

// since gives the events after the first n, all that etcd has had until now.
func (h *history) since(t *testing.T, n int) []string {
	t.Helper()
	if _, err := h.client.Put(t.Context(), h.prefix+mark, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.Delete(t.Context(), h.prefix+mark); err != nil {
		t.Fatal(err)
	}
	var events []string
	eventually(t, "the watcher sees the mark", func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.err != nil {
			return h.err
		}
		if !slices.Contains(h.events, "delete "+mark) {
			return fmt.Errorf("events: %q", h.events)
		}
		h.events = slices.DeleteFunc(h.events, func(e string) bool { return strings.HasSuffix(e, " "+mark) })
		events = slices.Clone(h.events[n:])
		return nil
	})
	return events
}

// written waits until a container's record has been written after the first n events.
func (h *history) written(t *testing.T, n int, name string) {
	t.Helper()
	want := "put server/" + node(t) + "-" + name
	eventually(t, want, func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !slices.Contains(h.events[n:], want) {
			return fmt.Errorf("events: %q: %w", h.events[n:], errNotYet)
		}
		return nil
	})
}

// now gives what is there.
func (h *history) now() (map[string]record, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := map[string]record{}
	for k, r := range h.records {
		now[k] = r
	}
	return now, h.err
}

// of gives the record of a container, by its name.
func (h *history) of(name string) (record, bool) {
	now, _ := h.now()
	for key, r := range now {
		if strings.HasSuffix(key, "/"+name) || strings.HasSuffix(key, "-"+name) {
			return r, true
		}
	}
	return record{}, false
}

// endpoints gives what is there, by container.
func (h *history) endpoints() (map[string]string, error) {
	now, err := h.now()
	all := map[string]string{}
	for key, r := range now {
		if before, twice := all[r.Container]; twice {
			return nil, fmt.Errorf("%s: container %.12s is at %s already", key, r.Container, before)
		}
		all[r.Container] = r.endpoint()
	}
	return all, err
}

// agree says where etcd differs from what an engine says.
func (h *history) agree(e *engine) error {
	want, err := e.truth()
	if err != nil {
		return err
	}
	got, err := h.endpoints()
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("containers and where they are (-%s +etcd):\n%s", e.name, diff)
	}
	return nil
}
