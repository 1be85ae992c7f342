package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A recorder notes what happens to keys, as any other reader of etcd would see it.
type recorder struct {
	mu     sync.Mutex
	events []string // "put /services/website/web1 v1@10.0.0.5:32768", "delete /services/website/web1"
	seen   int64
	client *clientv3.Client
	prefix string
}

// record follows one service from now on. A machine's announcer tells etcd of the containers
// of other tests, too, which run at the same time: it has to be a service of the test's own.
func record(t *testing.T, endpoint, service string) *recorder {
	t.Helper()
	prefix := "/services/" + service + "/"
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	now, err := client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{seen: now.Header.Revision, client: client, prefix: prefix}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
		_ = client.Close()
	})
	watch := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(now.Header.Revision+1), clientv3.WithProgressNotify())
	go func() {
		defer close(done)
		for response := range watch {
			r.note(response)
		}
	}()
	return r
}

func (r *recorder) note(response clientv3.WatchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range response.Events {
		if e.Type == clientv3.EventTypeDelete {
			r.events = append(r.events, "delete "+string(e.Kv.Key))
		} else {
			r.events = append(r.events, "put "+string(e.Kv.Key))
		}
	}
	r.seen = max(r.seen, response.Header.Revision)
}

// caughtUp gives all that has happened to this moment: it writes a key of its own and
// waits until it sees that.
func (r *recorder) caughtUp(t *testing.T) []string {
	t.Helper()
	mark := fmt.Sprintf("%smark-%d", r.prefix, time.Now().UnixNano())
	put, err := r.client.Put(t.Context(), mark, "")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the recorder sees its own mark", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.seen < put.Header.Revision {
			return fmt.Errorf("revision %d of %d", r.seen, put.Header.Revision)
		}
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(e string) bool { return strings.Contains(e, "/mark-") })
}

// keys gives the records that are there, as "service/instance" → value.
func (r *recorder) keys(t *testing.T) map[string]string {
	t.Helper()
	res, err := r.client.Get(t.Context(), r.prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, kv := range res.Kvs {
		if id := strings.TrimPrefix(string(kv.Key), "/services/"); !strings.Contains(id, "/mark-") {
			keys[id] = string(kv.Value)
		}
	}
	return keys
}

// holds waits until exactly these records are there.
func (r *recorder) holds(t *testing.T, what string, ids ...string) {
	t.Helper()
	slices.Sort(ids)
	eventually(t, what, func() error {
		var got []string
		for id := range r.keys(t) {
			got = append(got, id)
		}
		slices.Sort(got)
		if !slices.Equal(got, ids) {
			return fmt.Errorf("records %q, want %q", got, ids)
		}
		return nil
	})
}
