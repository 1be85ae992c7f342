package fakedocker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// version is the API's, which Docker 20.10 speaks.
const version = "1.41"

func (e *Engine) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("OK")) // who has gone need not be told
	})
	mux.HandleFunc("GET /{version}/info", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"ServerVersion": "20.10.24", "SystemTime": stamp(time.Now())})
	})
	mux.HandleFunc("GET /{version}/events", e.serveEvents)
	mux.HandleFunc("GET /{version}/containers/json", e.serveList)
	mux.HandleFunc("GET /{version}/containers/{id}/json", e.serveInspect)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, errors.New("page not found"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", version)
		w.Header().Set("Ostype", "linux")
		asked, isVersion := strings.CutPrefix(strings.SplitN(r.URL.Path, "/", 3)[1], "v1.")
		if minor, err := strconv.Atoi(asked); isVersion && (err != nil || minor > 41) {
			refuse(w, http.StatusBadRequest, fmt.Errorf("client version 1.%s is too new. Maximum supported API version is %s", asked, version))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (e *Engine) serveList(w http.ResponseWriter, r *http.Request) {
	all, _ := strconv.ParseBool(r.FormValue("all"))
	body := []byte{'['}
	listed := 0
	e.mu.Lock()
	for _, k := range e.ordered() {
		if !k.running && !all {
			continue
		}
		if listed++; listed > 1 {
			body = append(body, ',')
		}
		body = append(body, k.summary...)
	}
	e.mu.Unlock()
	sleep(e.latency.List + time.Duration(listed)*e.latency.ListEach)
	write(w, http.StatusOK, append(body, ']'))
}

func (e *Engine) serveInspect(w http.ResponseWriter, r *http.Request) {
	sleep(e.latency.Inspect)
	e.mu.Lock()
	k, err := e.find(r.PathValue("id"))
	var body []byte
	if err == nil {
		body = k.inspect
	}
	e.mu.Unlock()
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	write(w, http.StatusOK, body)
}

// sleep keeps a thread, because the runtime's own timers are a millisecond late in a
// process that has nothing else to do.
func sleep(d time.Duration) {
	left := unix.NsecToTimespec(d.Nanoseconds())
	for d > 0 && errors.Is(unix.Nanosleep(&left, &left), unix.EINTR) {
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	write(w, status, body)
}

func refuse(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]string{"message": err.Error()})
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has gone need not be told
}
