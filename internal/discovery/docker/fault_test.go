package docker

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// begin runs a watcher over a fake engine with one container, "a", up to its first list.
func begin(t *testing.T, cfg Config, adjust ...func(*Watcher)) (*fakeEngine, *running, *fakeStream) {
	t.Helper()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	r := watch(t, cfg, e.serve(t), adjust...)
	s := e.stream(t)
	if c := r.next(t); !c.Listed || len(c.Containers) != 1 || c.Containers[0].ID != "a" {
		t.Fatalf("first change: %+v, want the list of a", c)
	}
	return e, r, s
}

func TestWhatHappensWhileNobodyFollowsIsListed(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fakeStream){
		"closed in good order":              func(s *fakeStream) { close(s.lines) },
		"cut in the middle of a message":    func(s *fakeStream) { s.write(`{"Type":"container","Action":"di`); close(s.cut) },
		"closed in the middle of a message": func(s *fakeStream) { s.write(`{"Type":"container","Action":"di`); close(s.lines) },
		"something that is not JSON":        func(s *fakeStream) { s.write("<html>\n") },
		"JSON that is no event":             func(s *fakeStream) { s.write("[1,2]\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := begin(t, Config{})
			e.remove("a")
			e.set("b", "web", "running", noon)
			end(s)
			if c := r.next(t); !c.Listed || len(c.Containers) != 1 || c.Containers[0].ID != "b" {
				t.Errorf("after the stream broke: %+v, want the list of b", c)
			}
			eventually(t, "healthy again", func() bool { return r.Healthy() == nil })
		})
	}
}

func TestEventsBeforeAStreamBreaksAreFollowed(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	e.fail(broken(500), nil)
	s.send("container", "die", "a", "web", noon.Add(time.Second))
	close(s.lines)
	if diff := cmp.Diff(Change{Gone: []string{"a"}}, r.next(t)); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
}

func TestDeathsAreFollowedWhileNothingElseIsAnswered(t *testing.T) {
	t.Parallel()
	// As an engine that shuts down: it takes no requests, but tells who dies.
	e, r, s := begin(t, Config{Resync: 20 * time.Millisecond})
	eventually(t, "healthy", func() bool { return r.Healthy() == nil })
	e.fail(broken(503), failing(503))
	eventually(t, "unhealthy", func() bool { return r.Healthy() != nil })
	s.send("container", "pause", "a", "web", noon.Add(time.Second))
	s.send("container", "die", "a", "web", noon.Add(2*time.Second))
	r.until(t, "a is gone", func(v *view) bool { return len(v.containers) == 0 })
	e.set("a", "web", "running", noon.Add(3*time.Second))
	e.fail(nil, nil)
	r.until(t, "a is back", func(v *view) bool { return len(v.containers) == 1 })
	e.stream(t) // the old one may be dead, so there must be a new one
	eventually(t, "healthy", func() bool { return r.Healthy() == nil })
}

func TestAFailedListIsNotNoContainers(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]func(http.ResponseWriter) bool{
		"an error":           broken(500),
		"half an answer":     func(w http.ResponseWriter) bool { fmt.Fprint(w, `[{"Id":"a","Na`); return true },
		"something else":     func(w http.ResponseWriter) bool { fmt.Fprint(w, `{"message":"hello"}`); return true },
		"a cut connection":   func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) },
		"nothing whatsoever": func(http.ResponseWriter) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, r, s := begin(t, Config{})
			e.fail(list, nil)
			before := e.count("/containers/json")
			close(s.lines)
			eventually(t, "three more lists", func() bool { return e.count("/containers/json") > before+3 })
			if r.Healthy() == nil {
				t.Error("healthy while no list succeeds")
			}
			if len(r.changes) > 0 {
				t.Errorf("handed over without a list: %+v", <-r.changes)
			}
			e.fail(nil, nil)
			if c := r.next(t); !c.Listed || len(c.Containers) != 1 {
				t.Errorf("afterwards: %+v, want the list of a", c)
			}
			if n := strings.Count(r.log.String(), "docker is away"); n != 1 {
				t.Errorf("the failure is logged %d times, want once:\n%s", n, r.log)
			}
			if testutil.ToFloat64(r.metrics.errors.WithLabelValues(opList)) < 3 {
				t.Error("the failures are not counted")
			}
		})
	}
}

func TestAnEmptyListIsNoContainers(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	e.remove("a")
	close(s.lines)
	if diff := cmp.Diff(Change{Listed: true}, r.next(t)); diff != "" {
		t.Errorf("change (-want +got):\n%s", diff)
	}
}

func TestEngineAwayAtStartThenBack(t *testing.T) {
	t.Parallel()
	e := newFakeEngine()
	e.set("a", "web", "running", noon)
	socket := filepath.Join(t.TempDir(), "docker.sock")
	r := watch(t, Config{}, client.WithHost("unix://"+socket))
	eventually(t, "attempts", func() bool { return testutil.ToFloat64(r.metrics.errors.WithLabelValues(opConnect)) > 2 })
	if err := r.Healthy(); err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("Healthy: %v, want it to name the socket", err)
	}

	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: e, ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served //nolint:errcheck // it says only that the server was closed
	})
	if c := r.next(t); !c.Listed || len(c.Containers) != 1 {
		t.Errorf("change: %+v, want the list of a", c)
	}
	eventually(t, "healthy", func() bool { return r.Healthy() == nil && testutil.ToFloat64(r.metrics.up) == 1 })
	for text, want := range map[string]int{"docker is away": 1, "following docker": 1} {
		if n := strings.Count(r.log.String(), text); n != want {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, r.log)
		}
	}
}

func TestSubscriptionThatIsRefusedOrNeverAnswered(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]http.HandlerFunc{
		"refused":   func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "forbidden by the proxy") },
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newFakeEngine()
			tries := make(chan struct{}, 1000)
			where := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/events") {
					tries <- struct{}{}
					events(w, r)
					return
				}
				e.ServeHTTP(w, r)
			}))
			r := watch(t, Config{}, where, func(w *Watcher) { w.timeout = impatience })
			for range 3 {
				<-tries
			}
			if err := r.Healthy(); err == nil || !strings.Contains(err.Error(), "docker") {
				t.Errorf("Healthy: %v", err)
			}
			if strings.Contains(r.log.String(), "following docker") {
				t.Errorf("claimed to follow events:\n%s", r.log)
			}
		})
	}
}

func TestSubscriptionBeginsBeforeItIsMade(t *testing.T) {
	t.Parallel()
	e, _, _ := begin(t, Config{})
	e.mu.Lock()
	defer e.mu.Unlock()
	// The engine's own clock, because the subscription exists only after it is answered.
	if want := []string{"1767323045.000000006"}; !slices.Equal(e.since, want) {
		t.Errorf("since %q, want %q", e.since, want)
	}
	if i, j := slices.Index(e.requests, "/events"), slices.Index(e.requests, "/containers/json"); i > j {
		t.Errorf("requests %q: subscribe before listing", e.requests)
	}
}

func TestFallingBehindIsADoubt(t *testing.T) {
	t.Parallel()
	e, r, s := begin(t, Config{})
	release := make(chan struct{})
	asked := make(chan struct{}, 200*maxBehind)
	e.fail(nil, func(http.ResponseWriter, *http.Request, string) bool {
		asked <- struct{}{}
		<-release
		return false
	})
	// No inspection is answered, and events pile up.
	for i := 0; s.send("container", "start", fmt.Sprint(i), "x", noon); i++ {
		if i > 100*maxBehind {
			t.Fatal("the watcher piles up events without end")
		}
	}
	close(release)
	r.until(t, "a second list", func(v *view) bool { return v.lists == 2 })
	if n := len(asked); n > maxBehind/2 {
		t.Errorf("%d inspections of containers that a list was about to cover", n)
	}
}

func TestRegisteringTwiceFails(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	w, err := open(Config{Registerer: reg}, client.WithHost("tcp://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(Config{Registerer: reg}, client.WithHost("tcp://127.0.0.1:1")); err == nil {
		t.Error("the second of two Watchers opened with the same metrics")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(Config{Registerer: reg}, client.WithHost("tcp://127.0.0.1:1")); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestOpenNamesAVariableThatMakesNoSense(t *testing.T) {
	t.Setenv("DOCKER_HOST", "nonsense")
	_, err := Open(Config{Registerer: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "DOCKER_HOST") || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("Open: %v, want an error with the variable and its value", err)
	}
}

// broken answers a list with an error, failing an inspection.
func broken(status int) func(http.ResponseWriter) bool {
	return func(w http.ResponseWriter) bool { refuse(w, status, "out of order"); return true }
}

func failing(status int, ids ...string) func(http.ResponseWriter, *http.Request, string) bool {
	return func(w http.ResponseWriter, _ *http.Request, id string) bool {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			return false
		}
		refuse(w, status, "out of order")
		return true
	}
}
