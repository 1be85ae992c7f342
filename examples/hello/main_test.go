package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswers(t *testing.T) {
	srv := httptest.NewServer(handler("web-1", "v2"))
	defer srv.Close()

	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"root", http.MethodGet, "/", "", 200, "hello from web-1, version v2\n"},
		{"any path", http.MethodGet, "/shop/1", "", 200, "hello from web-1, version v2\n"},
		{"post", http.MethodPost, "/", "x", 200, "hello from web-1, version v2\n"},
		{"health", http.MethodGet, "/healthz", "", 200, "ok\n"},
		{"slow", http.MethodGet, "/slow?d=1ms", "", 200, "hello from web-1, version v2\n"},
		{"slow post", http.MethodPost, "/slow?d=1ms", "some\x00bytes", 200, "some\x00bytes"},
		{"too slow", http.MethodGet, "/slow?d=1h", "", 400, "d must be a duration from 0s to 1m, as in /slow?d=2s\n"},
		{"echo", http.MethodPost, "/echo", "some\x00bytes", 200, "some\x00bytes"},
		{"echo too much", http.MethodPost, "/echo", strings.Repeat("x", maxBody+1), 400, "http: request body too large\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, srv.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			status, header, body := send(t, req)
			if status != tt.status || body != tt.want {
				t.Errorf("got %d %q, want %d %q", status, body, tt.status, tt.want)
			}
			if got := header.Get("X-Instance") + " " + header.Get("X-Version"); got != "web-1 v2" {
				t.Errorf("headers name %q, want %q", got, "web-1 v2")
			}
		})
	}
}

// A request that is running when TERM comes is answered; run returns after it.
func TestStopsGracefully(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, term := context.WithCancel(t.Context())
	defer term()
	entered := make(chan struct{})
	served := make(chan error, 1)
	h := handler("web-1", "v1")
	go func() {
		served <- serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-ctx.Done()
			h.ServeHTTP(w, r)
		}))
	}()
	go func() {
		<-entered
		term()
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ln.Addr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, body := send(t, req); status != 200 || body != "hello from web-1, version v1\n" {
		t.Errorf("the running request got %d %q", status, body)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestHealth(t *testing.T) {
	srv := httptest.NewServer(handler("web-1", "v1"))
	defer srv.Close()
	check := func() error {
		return run(t.Context(), []string{"-check", "-listen", srv.Listener.Addr().String()}, func(string) string { return "" }, io.Discard)
	}
	post := func(path string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, _, _ := send(t, req); status != http.StatusOK {
			t.Errorf("POST %s gets %d", path, status)
		}
	}
	if err := check(); err != nil {
		t.Errorf("well at first: %v", err)
	}
	post("/sick")
	if err := check(); err == nil || !strings.HasSuffix(err.Error(), "/healthz answers 503 Service Unavailable") {
		t.Errorf("sick: %v", err)
	}
	post("/well")
	if err := check(); err != nil {
		t.Errorf("well again: %v", err)
	}
}

func TestRefusesBadAddress(t *testing.T) {
	err := run(t.Context(), []string{"--listen", "nowhere:99999"}, func(string) string { return "" }, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "listen on nowhere:99999") {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

func send(t *testing.T, req *http.Request) (int, http.Header, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}
