package docker

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

// A fakeEngine answers as Docker 20.10 does, except where a test wants otherwise.
type fakeEngine struct {
	mu         sync.Mutex
	containers map[string]fakeContainer
	list       func(w http.ResponseWriter) bool                             // true: it has answered
	inspect    func(w http.ResponseWriter, r *http.Request, id string) bool // true: it has answered
	requests   []string                                                     // "GET /containers/json", …
	since      []string                                                     // of every subscription

	streams chan *fakeStream // every subscription, once it is open
}

type fakeContainer struct {
	name, state string
	started     time.Time
	network     string // its network mode
}

// A fakeStream is one open subscription.
type fakeStream struct {
	lines chan string   // written as they are; closing it ends the stream in good order
	cut   chan struct{} // closing it breaks the connection
	gone  chan struct{} // closed when the stream has ended, whoever ended it
}

// send says whether anybody was still there to be told.
func (s *fakeStream) send(kind, action, id, name string, at time.Time) bool {
	return s.write(fmt.Sprintf(`{"Type":%q,"Action":%q,"Actor":{"ID":%q,"Attributes":{"name":%q}},"time":%d,"timeNano":%d}`+"\n",
		kind, action, id, name, at.Unix(), at.UnixNano()))
}

func (s *fakeStream) write(line string) bool {
	select {
	case s.lines <- line:
		return true
	case <-s.gone:
		return false
	}
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{containers: map[string]fakeContainer{}, streams: make(chan *fakeStream, 100)}
}

// serve starts the engine on a port of its own.
func (e *fakeEngine) serve(t testing.TB) client.Opt {
	t.Helper()
	return serve(t, e)
}

func serve(t testing.TB, h http.Handler) client.Opt {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return client.WithHost("tcp://" + srv.Listener.Addr().String())
}

func (e *fakeEngine) set(id, name, state string, started time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[id] = fakeContainer{name, state, started, e.containers[id].network}
}

// join makes a container use the network of another.
func (e *fakeEngine) join(id, owner string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	c.network = sharing + owner
	e.containers[id] = c
}

func (e *fakeEngine) remove(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
}

// fail makes lists and inspections behave otherwise; nil is as usual.
func (e *fakeEngine) fail(list func(http.ResponseWriter) bool, inspect func(http.ResponseWriter, *http.Request, string) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list, e.inspect = list, inspect
}

// count says how often something was asked for.
func (e *fakeEngine) count(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, r := range e.requests {
		if r == path {
			n++
		}
	}
	return n
}

// stream waits for the next subscription.
func (e *fakeEngine) stream(t *testing.T) *fakeStream {
	t.Helper()
	select {
	case s := <-e.streams:
		return s
	case <-time.After(patience):
		t.Fatal("the watcher did not subscribe")
		return nil
	}
}

var versioned = regexp.MustCompile(`^/v1\.41/`)

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/_ping" {
		return
	}
	if !versioned.MatchString(r.URL.Path) {
		refuse(w, http.StatusBadRequest, "client version is too new")
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	e.mu.Lock()
	e.requests = append(e.requests, path)
	list, inspect := e.list, e.inspect
	e.mu.Unlock()
	switch path {
	case "/info":
		answer(w, map[string]any{"SystemTime": "2026-01-02T03:04:05.000000006Z"})
	case "/events":
		e.serveEvents(w, r)
	case "/containers/json":
		if list == nil || !list(w) {
			answer(w, e.summaries())
		}
	default:
		id := strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
		if inspect == nil || !inspect(w, r, id) {
			e.serveInspect(w, id)
		}
	}
}

func (e *fakeEngine) summaries() []map[string]any {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []map[string]any{}
	for id, c := range e.containers {
		if c.state != "exited" {
			list = append(list, map[string]any{"Id": id, "Names": []string{"/other/alias", "/" + c.name}, "State": c.state})
		}
	}
	return list
}

func (e *fakeEngine) serveInspect(w http.ResponseWriter, id string) {
	e.mu.Lock()
	c, ok := e.containers[id]
	e.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "No such container: "+id)
		return
	}
	answer(w, map[string]any{
		"Id": id, "Name": "/" + c.name,
		"State":      map[string]any{"Status": c.state, "StartedAt": c.started.Format(time.RFC3339Nano)},
		"HostConfig": map[string]any{"NetworkMode": c.network},
	})
}

func (e *fakeEngine) serveEvents(w http.ResponseWriter, r *http.Request) {
	s := &fakeStream{lines: make(chan string), cut: make(chan struct{}), gone: make(chan struct{})}
	defer close(s.gone)
	w.(http.Flusher).Flush()
	e.mu.Lock()
	e.since = append(e.since, r.FormValue("since"))
	e.mu.Unlock()
	e.streams <- s
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return
			}
			fmt.Fprint(w, line)
			w.(http.Flusher).Flush()
		case <-s.cut:
			panic(http.ErrAbortHandler)
		case <-r.Context().Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	answer(w, map[string]string{"message": message})
}
