package main

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestRun(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", "web-1")
		if n.Add(1) == 5 {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()

	var out strings.Builder
	lost, err := run(t.Context(), []string{"--rate=200", "--duration=300ms", "--every=100ms", srv.URL}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if lost != 1 {
		t.Errorf("lost %d, want 1", lost)
	}
	for _, want := range []string{"   0 s  requests sent", "lost       1 (", "1 5xx", "instances  web-1 100%", "status 502 Bad Gateway"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"two URLs", []string{"http://a/", "http://b/"}, `one URL at most, got ["http://a/" "http://b/"]; flags come before it`},
		{"bad rate", []string{"--rate=0"}, "rate 0 is not above 0 and at most 100000 a second"},
		{"unknown", []string{"--nix"}, "flag provided but not defined: -nix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t.Context(), tt.args, io.Discard, io.Discard)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var said strings.Builder
	_, err := run(t.Context(), []string{"--help"}, io.Discard, &said)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(said.String(), "A request has failed when") {
		t.Errorf("got %v and\n%s", err, said.String())
	}
}
