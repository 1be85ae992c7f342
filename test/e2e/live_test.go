package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func weighing(address string, weight int) string {
	host, port, _ := strings.Cut(address, ":")
	return fmt.Sprintf(`{"host":%q,"port":%s,"weight":%d}`, host, port, weight)
}

// Members come and go, move and get other weights while the server runs: no client's
// connection is closed for it, and a restart serves the same.
func TestMembersWithoutAReload(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		at := map[string]string{}
		for _, name := range []string{"a", "b", "c", "moved"} {
			at[name] = serveName(t, name)
		}
		put(t, endpoint, "/services/web/a", at["a"])
		put(t, endpoint, "/services/web/b", at["b"])
		l := startLive(t, proxy, endpoint)
		eventually(t, "both answer", func() error { return evenly(l.url, "a", "b") })
		start := l.counts(t)
		before := start
		kept := visit(t, l.url)
		step := func(what string, check func() error) {
			t.Helper()
			eventually(t, what, check)
			now := l.counts(t)
			if now.Reloads != start.Reloads || now.Members <= before.Members {
				t.Fatalf("%s: reloads %d, were %d; members changed %d, were %d", what, now.Reloads, start.Reloads, now.Members, before.Members)
			}
			before = now
			kept.again(t, "after "+what)
		}
		put(t, endpoint, "/services/web/c", at["c"])
		step("a join", func() error { return evenly(l.url, "a", "b", "c") })
		etcdctl(t, endpoint, "del", "/services/web/b")
		step("a leave", func() error { return evenly(l.url, "a", "c") })
		put(t, endpoint, "/services/web/a", weighing(at["a"], 10))
		step("a small weight", func() error { return shared(l.url, "a", 2, 25) })
		put(t, endpoint, "/services/web/a", weighing(at["a"], 0))
		step("weight 0", func() error { return evenly(l.url, "c") })
		put(t, endpoint, "/services/web/a", weighing(at["a"], 256))
		step("the greatest weight", func() error { return shared(l.url, "a", 60, 95) })
		put(t, endpoint, "/services/web/a", at["moved"])
		step("a move", func() error { return evenly(l.url, "moved", "c") })
		l.written(t, []string{at["moved"], at["c"]}, []string{at["a"], at["b"]})

		master, said := pidIn(t, l.pid), len(l.process.output())
		if err := syscall.Kill(master, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.restarted(t, master)
		eventually(t, "after a restart of the server", func() error { return evenly(l.url, "moved", "c") })
		if now := l.counts(t); now.Members != before.Members || strings.Contains(l.process.output()[said:], "not as they should be") {
			t.Errorf("the server was started with other members: %d changed, were %d", now.Members, before.Members)
		}
		put(t, endpoint, "/services/web/b", at["b"])
		eventually(t, "a join after the restart", func() error { return evenly(l.url, "b", "moved", "c") })
	})
}

// restarted waits until another process is the server, and serves.
func (l *live) restarted(t *testing.T, before int) {
	t.Helper()
	eventually(t, "the server is started again", func() error {
		text, err := os.ReadFile(l.pid)
		if now := strings.TrimSpace(string(text)); err != nil || now == "" || now == strconv.Itoa(before) {
			return errors.Join(err, fmt.Errorf("its pid file says %q", now))
		}
		code, _, body := get(l.url)
		if code == 0 {
			return errors.New(body)
		}
		return ready(l.status)
	})
}

// shared checks that of 100 requests so many are for one.
func shared(url, name string, least, most int) error {
	counts, err := spread(url, 100)
	if err == nil && (counts[name] < least || counts[name] > most) {
		err = fmt.Errorf("%s answers %v", name, counts)
	}
	return err
}

// Apache's balancers have room for so many; who comes then comes by a reload, and nothing is
// lost by it.
func TestMembersRunOut(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	put(t, endpoint, "/services/web/a", serveName(t, "a"))
	l := startLive(t, "apache", endpoint)
	eventually(t, "it answers", func() error { return evenly(l.url, "a") })
	start := l.counts(t)
	names := map[string]bool{"a": true}
	for i := range 80 {
		name := fmt.Sprintf("b%d", i)
		names[name] = true
		put(t, endpoint, "/services/web/"+name, serveName(t, name))
		if code, _, body := get(l.url); code != http.StatusOK {
			t.Errorf("after %d joins a request is answered by %d %s", i+1, code, body)
		}
	}
	seen := map[string]int{}
	eventually(t, "all answer", func() error {
		counts, err := spread(l.url, 40)
		maps.Copy(seen, counts)
		if len(seen) != len(names) {
			err = errors.Join(err, fmt.Errorf("%d of %d have answered", len(seen), len(names)))
		}
		return err
	})
	// On a busy machine many of them come with the reload.
	if now := l.counts(t); now.Reloads != start.Reloads+1 || now.Members == 0 {
		t.Errorf("%d reloads, want one; %d members changed without", now.Reloads-start.Reloads, now.Members)
	}
}
