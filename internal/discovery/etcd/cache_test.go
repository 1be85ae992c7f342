package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"rollcall/internal/discovery"
)

func cached(prefix, file string) SourceConfig {
	return SourceConfig{Prefix: prefix, MaxLoss: 0.5, Hold: time.Hour, Cache: file}
}

// age makes a cache look as if it had been written at another time.
func age(t *testing.T, file string, written time.Time) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := discovery.ReadCache(f, "/services")
	_ = f.Close()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := discovery.WriteCache(out, "/services", c, written); err != nil {
		t.Fatal(err)
	}
}

// While etcd is away at the start, what the cache remembers is served. When etcd is
// back its listing counts, and what is missing from that is judged as ever.
func TestSourceStartsWithoutEtcd(t *testing.T) {
	t.Parallel()
	const prefix = "/services"
	for name, tt := range map[string]struct {
		age  time.Duration
		want string
	}{
		"a moment ago":  {0, "api/a=10.0.0.8:80 web/a=10.0.0.5:80* web/b=10.0.0.6:80* web/c=10.0.0.7:81"},
		"very long ago": {2 * time.Hour, "api/a=10.0.0.8:80 web/c=10.0.0.7:81"}, // who knows who has these addresses now
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "deep", "cache")
			n := newNode(t)
			c := open(t, n.Server)
			lease := grant(t, c)
			put(t, c, prefix+"/web/a", `{"host":"10.0.0.5","port":80,"tags":["x"]}`, clientv3.WithLease(lease))
			put(t, c, prefix+"/web/b", "10.0.0.6:80", clientv3.WithLease(lease))
			put(t, c, prefix+"/web/c", "10.0.0.7:80", clientv3.WithLease(lease))
			put(t, c, prefix+"/api/a", "10.0.0.8:80")
			first := watchAs(t, c, cached(prefix, file), time.Hour)
			all := "api/a=10.0.0.8:80 web/a=10.0.0.5:80 web/b=10.0.0.6:80 web/c=10.0.0.7:80"
			first.sees(t, all)
			first.stop()
			<-first.ended
			if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
				t.Fatalf("the cache is %v, %v", info, err)
			}
			if tt.age > 0 {
				age(t, file, time.Now().Add(-tt.age))
			}
			lose(t, c, lease)
			put(t, c, prefix+"/web/c", "10.0.0.7:81")
			n.stop()

			w := watchAs(t, openURL(t, n.url), cached(prefix, file), time.Hour)
			w.sees(t, all)
			if got := w.last(); !got.Stale || got.Services[1].Instances[0].Extra["tags"] != `["x"]` || got.Revision != first.last().Revision {
				t.Errorf("what was remembered is %+v", got)
			}
			if w.Healthy() == nil {
				t.Error("healthy without etcd")
			}
			n.start()
			w.sees(t, tt.want)
			if w.last().Stale {
				t.Error("what etcd tells is stale")
			}
			del(t, open(t, n.Server), prefix+"/api/a")
			w.sees(t, strings.TrimPrefix(tt.want, "api/a=10.0.0.8:80 "))
		})
	}
}

// A cache that is of no use is said to be so, and nothing else comes of it.
func TestSourceStartsWithoutACache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "garbage": "\x00\xff{", "later": `{"format":"rollcall catalog 2"}`,
		"elsewhere": `{"format":"rollcall catalog 1","prefix":"/else","revision":1,"written":"2026-01-02T03:04:05Z","instances":0}`,
		"missing":   "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(dir, name)
			if name != "missing" {
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			n := newNode(t)
			n.stop()
			w := watchAs(t, openURL(t, n.url), cached("/services", file), time.Hour)
			lasting(t, "nothing is handed over", 2*firstAnswer, func() bool { return len(w.all()) == 0 })
			if got := w.log.count("cache is of no use"); (got == 1) != (name != "missing") {
				t.Errorf("that the cache is of no use was said %d times", got)
			}
			n.start()
			put(t, open(t, n.Server), "/services/web/a", "10.0.0.5:80")
			w.sees(t, "web/a=10.0.0.5:80")
			if w.heldOnce() {
				t.Error("something was held")
			}
		})
	}
}

// A file that cannot be written is said once, and everything goes on.
func TestSourceServesWhatItCannotCache(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	file := filepath.Join(t.TempDir(), "in-the-way")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := watchAs(t, c, cached(prefix, filepath.Join(file, "cache")), time.Hour)
	eventually(t, "a failure", func() bool { return metric(t, w.unwritten) == 1 })
	put(t, c, prefix+"/web/a", "10.0.0.5:80")
	w.sees(t, "web/a=10.0.0.5:80")
	eventually(t, "another failure", func() bool { return metric(t, w.unwritten) == 2 })
	if got := w.log.count("catalog cannot be cached"); got != 1 {
		t.Errorf("said %d times, want once", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	put(t, c, prefix+"/web/a", "10.0.0.5:81")
	eventually(t, "it is cached", func() bool { return w.log.count("cached again") == 1 })
	eventually(t, "the file", func() bool {
		b, err := os.ReadFile(filepath.Join(file, "cache"))
		return err == nil && strings.Contains(string(b), `"port":81`)
	})
	if err := w.Healthy(); err != nil {
		t.Errorf("Healthy() = %v: the cache is not what serves", err)
	}
}

// What changes all the time is written once in a while, and in the end as it was.
func TestSourceCachesNotEachChange(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	file := filepath.Join(t.TempDir(), "cache")
	w := watchAs(t, c, cached(prefix, file), time.Hour)
	var inodes []os.FileInfo
	for port := 1; port <= 300; port++ {
		put(t, c, prefix+"/web/a", fmt.Sprintf("10.0.0.5:%d", port))
		if info, err := os.Stat(file); err == nil && (len(inodes) == 0 || !os.SameFile(info, inodes[len(inodes)-1])) {
			inodes = append(inodes, info)
		}
	}
	w.sees(t, "web/a=10.0.0.5:300")
	w.stop()
	<-w.ended
	if len(inodes) > 30 {
		t.Errorf("300 changes were written %d times", len(inodes))
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, written, err := discovery.ReadCache(f, prefix)
	if err != nil || show(got) != "web/a=10.0.0.5:300" || time.Since(written) > patience {
		t.Errorf("the cache is %q of %s, %v", show(got), written, err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("beside the cache is left %v, %v", left, err)
	}
}

// breathless is a client that gets the first page of a listing and, when it is tired, no other.
type breathless struct {
	clientv3.KV
	tired *atomic.Bool
}

func (b breathless) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if b.tired.Load() && !strings.HasSuffix(key, "/") {
		<-ctx.Done()
		return nil, errors.New("nothing is heard")
	}
	return b.KV.Get(ctx, key, opts...)
}

// What the cache remembers is for the start alone: etcd that goes away in the middle of
// a later listing must not bring back what was there in the morning.
func TestSourceForgetsTheCacheOnceEtcdHasAnswered(t *testing.T) {
	t.Parallel()
	prefix, file := unique(t), filepath.Join(t.TempDir(), "cache")
	direct := open(t, shared)
	puts := make([]clientv3.Op, 0, maxOps)
	for n := range pageSize + 1 {
		puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s/many/i%05d", prefix, n), "10.0.0.9:80"))
		if len(puts) == maxOps || n == pageSize {
			if _, err := direct.c.Txn(testContext(t)).Then(puts...).Commit(); err != nil {
				t.Fatal(err)
			}
			puts = puts[:0]
		}
	}
	put(t, direct, prefix+"/web/a", "10.0.0.5:80")
	first := watchAs(t, direct, cached(prefix, file), time.Hour)
	eventually(t, "web/a", func() bool { _, ok := first.last().Service("web"); return ok })
	first.stop()
	<-first.ended

	link := newLink(t, shared)
	c := openURL(t, link.url)
	var tired atomic.Bool
	c.c.KV = breathless{c.c.KV, &tired}
	w := watchAs(t, c, cached(prefix, file), time.Hour)
	eventually(t, "web/a", func() bool { _, ok := w.last().Service("web"); return ok })
	del(t, direct, prefix+"/web/a")
	eventually(t, "no web/a", func() bool { _, ok := w.last().Service("web"); return !ok && len(w.all()) > 1 })
	tired.Store(true)
	link.cut()
	lasting(t, "web/a stays away", 3*firstAnswer, func() bool {
		_, ok := w.last().Service("web")
		return !ok && !w.last().Stale
	})
}
