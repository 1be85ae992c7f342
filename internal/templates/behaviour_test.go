package templates

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// backend answers with its name and with what it was asked.
func backend(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Upgrade") != "" && strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade"):
			upgrade(w, r)
			return
		case strings.HasSuffix(r.URL.Path, "/busy"):
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Backend", name)
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header().Set("X-Host", r.Host)
		w.Header().Set("X-Body", fmt.Sprint(r.Method, " ", len(body)))
		for _, h := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Proxy", "Connection"} {
			w.Header().Set("Got-"+h, strings.Join(r.Header.Values(h), "|"))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// upgrade leaves HTTP and sends back every byte, as a WebSocket server would every message.
func upgrade(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455, section 4.2.2
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		r.Header.Get("Upgrade"), base64.StdEncoding.EncodeToString(accept[:]))
	rw.Flush()
	_, _ = io.Copy(conn, rw)
}

func upstream(name string, servers ...*httptest.Server) Upstream {
	u := Upstream{Name: name}
	for i, s := range servers {
		addr := s.Listener.Addr().(*net.TCPAddr)
		u.Servers = append(u.Servers, Server{
			Name: fmt.Sprintf("%s%d", name, i+1), Host: addr.IP.String(), Port: uint16(addr.Port),
			Address: addr.String(), Weight: 100,
		})
	}
	return u
}

// send asks the balancer, as a client that does not keep its connection.
func (r *running) send(t *testing.T, method, host, path string, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Close = true
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: 10 * time.Second}
	resp, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		t.Fatalf("%s %s%s: %v", method, host, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// TestBalancer asks one balancer of each kind everything it must be able to answer.
func TestBalancer(t *testing.T) {
	shop := upstream("shop", backend(t, "shop"))
	idle := upstream("idle", backend(t, "idle"))
	idle.Servers[0].Weight = 0
	heavy := upstream("heavy", backend(t, "light"), backend(t, "heavy"), backend(t, "off"))
	heavy.Servers[0].Weight, heavy.Servers[1].Weight, heavy.Servers[2].Weight = 50, 250, 0
	for _, proxy := range withLua(proxies) {
		for _, standalone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/standalone=%v", proxy, standalone), func(t *testing.T) {
				r := start(t, Balancer{
					Proxy: proxy, Standalone: standalone, Revision: 7,
					Upstreams: []Upstream{
						upstream("admin", backend(t, "admin")),
						upstream("api", backend(t, "api1"), backend(t, "api2"), backend(t, "api3")),
						{Name: "empty"},
						heavy, idle,
						upstream("same-name", backend(t, "dash")), upstream("same.name", backend(t, "dot")), upstream("same_name", backend(t, "line")),
						shop,
					},
					Hosts: []VirtualHost{
						{Name: "alias.example", Routes: []Route{{"", "api"}}},
						{Name: "api.example", Routes: []Route{{"", "api"}}},
						{Name: "empty.example", Routes: []Route{{"/live", "shop"}, {"", "empty"}}},
						{Name: "heavy.example", Routes: []Route{{"", "heavy"}}},
						{Name: "idle.example", Routes: []Route{{"", "idle"}}},
						{Name: "same.example", Routes: []Route{{"/line", "same_name"}, {"/dot", "same.name"}, {"", "same-name"}}},
						{Name: "shop.example", Routes: []Route{{"/shop/admin/empty", "empty"}, {"/shop/admin", "admin"}, {"/shop", "shop"}}},
					},
				})
				t.Run("spread", func(t *testing.T) { testSpread(t, r) })
				t.Run("routes", func(t *testing.T) { testRoutes(t, r) })
				t.Run("headers", func(t *testing.T) { testHeaders(t, r) })
				t.Run("body", func(t *testing.T) { testBody(t, r) })
				t.Run("upgrade", func(t *testing.T) { testUpgrade(t, r) })
				t.Run("generation", func(t *testing.T) { testGeneration(t, r) })
			})
		}
	}
}

func testSpread(t *testing.T, r *running) {
	for _, tc := range []struct {
		host     string
		requests int
		want     map[string]int
	}{
		{"api.example", 60, map[string]int{"api1": 20, "api2": 20, "api3": 20}},
		{"heavy.example", 60, map[string]int{"light": 10, "heavy": 50}},
	} {
		got := map[string]int{}
		for range tc.requests {
			resp, _ := r.send(t, "GET", tc.host, "/", "")
			got[resp.Header.Get("X-Backend")]++
		}
		for name, n := range got {
			if want := tc.want[name]; n < want-3 || n > want+3 || want == 0 {
				t.Errorf("%s: got %v, want about %v", tc.host, got, tc.want)
				break
			}
		}
		if len(got) != len(tc.want) {
			t.Errorf("%s: got %v, want about %v", tc.host, got, tc.want)
		}
	}
}

func testRoutes(t *testing.T, r *running) {
	for _, tc := range []struct {
		host, path string
		status     int
		backend    string
	}{
		{"shop.example", "/shop", 200, "shop"},
		{"SHOP.example:80", "/shop/", 200, "shop"},
		{"shop.example", "/shop/admin", 200, "admin"},
		{"shop.example", "/shop/admin/x", 200, "admin"},
		{"shop.example", "/shop/administrator", 200, "shop"},
		{"shop.example", "/shop/admin/empty/x", 503, ""},
		{"shop.example", "/shop/../shop/admin/", 200, "admin"},
		{"shop.example", "/shop/a%2Fb%20c//d;e=%C3%A4/?q=%2B1&r=/../", 200, "shop"},
		{"shop.example", "/shopping", 404, ""},
		{"shop.example", "/Shop", 404, ""},
		{"shop.example", "/", 404, ""},
		{"same.example", "/", 200, "dash"},
		{"same.example", "/dot", 200, "dot"},
		{"same.example", "/line", 200, "line"},
		{"idle.example", "/", 503, ""},
		{"empty.example", "/", 503, ""},
		{"empty.example", "/lively", 503, ""},
		{"empty.example", "/live", 200, "shop"},
		{"unknown.example", "/", 404, ""},
		{"unknown.example", "/rollcall/generation", 404, ""},
		{"rollcall_shop", "/", 404, ""},
		{"127.0.0.1", "/", 404, ""},
	} {
		resp, _ := r.send(t, "GET", tc.host, tc.path, "")
		if got := resp.Header.Get("X-Backend"); resp.StatusCode != tc.status || got != tc.backend {
			t.Errorf("%s%s: got %d from %q, want %d from %q", tc.host, tc.path, resp.StatusCode, got, tc.status, tc.backend)
		}
		// As the client wrote it, except that Apache resolves what it cannot match otherwise.
		if got := resp.Header.Get("X-Uri"); tc.backend != "" && got != tc.path && got != strings.TrimPrefix(tc.path, "/shop/..") {
			t.Errorf("%s%s: the server behind was asked for %q", tc.host, tc.path, got)
		}
		if got, want := resp.Header.Get("Retry-After"), map[int]string{503: "5"}[tc.status]; got != want {
			t.Errorf("%s%s: got Retry-After %q, want %q", tc.host, tc.path, got, want)
		}
	}
	// To have a request shown back is for nobody; with a fragment, Apache answers TRACE itself.
	if resp, _ := r.send(t, "TRACE", "shop.example", "/shop", ""); resp.StatusCode != http.StatusMethodNotAllowed && (r.proxy != "apache" || resp.Header.Get("X-Backend") == "") {
		t.Errorf("TRACE: got %s, want 405", resp.Status)
	}
	// A 503 of the server behind is its own.
	if resp, _ := r.send(t, "GET", "empty.example", "/live/busy", ""); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "" {
		t.Errorf("the backend's own answer: got %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
	}
}

func testHeaders(t *testing.T, r *running) {
	resp, _ := r.send(t, "GET", "Shop.Example:8080", "/shop", "",
		"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "gopher", "X-Real-IP", "192.0.2.1", "Proxy", "http://evil.example")
	got := map[string]string{"Host": strings.ToLower(resp.Header.Get("X-Host"))}
	for h, v := range resp.Header {
		if name, ok := strings.CutPrefix(h, "Got-"); ok {
			got[name] = strings.ToLower(strings.Join(v, "|"))
		}
	}
	if got["Connection"] == "keep-alive" { // which is what it means to say nothing
		got["Connection"] = ""
	}
	want := map[string]string{
		"Host": "shop.example:8080", "X-Forwarded-Host": "shop.example:8080", "X-Forwarded-For": "192.0.2.1, 127.0.0.1",
		"X-Forwarded-Proto": "http", "X-Real-Ip": "127.0.0.1", "Proxy": "", "Connection": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the backend got (-want +got):\n%s", diff)
	}
}

func testBody(t *testing.T, r *running) {
	for _, size := range []int{0, 10, 5 << 20} {
		resp, _ := r.send(t, "POST", "shop.example", "/shop", strings.Repeat("x", size))
		if got, want := resp.Header.Get("X-Body"), fmt.Sprint("POST ", size); resp.StatusCode != http.StatusOK || got != want {
			t.Errorf("got %s, %q, want %q", resp.Status, got, want)
		}
	}
}

func testUpgrade(t *testing.T, r *running) {
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /shop/ws HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v, want 101", resp, err)
	}
	for _, message := range []string{"hello", strings.Repeat("0123456789", 10_000)} {
		if _, err := io.WriteString(conn, message); err != nil {
			t.Fatal(err)
		}
		echo := make([]byte, len(message))
		if _, err := io.ReadFull(in, echo); err != nil || !bytes.Equal(echo, []byte(message)) {
			t.Fatalf("got %d bytes, %v, not what was sent", len(echo), err)
		}
	}
	// Nothing else may take the connection over.
	if resp, _ := r.send(t, "GET", "shop.example", "/shop", "", "Connection", "Upgrade", "Upgrade", "h2c"); resp.StatusCode != http.StatusOK {
		t.Errorf("upgrade to h2c: got %s, want it ignored", resp.Status)
	}
}

func testGeneration(t *testing.T, r *running) {
	got, err := r.askGeneration()
	if err != nil {
		t.Fatal(err)
	}
	if r.proxy == "apache" && got != r.generation {
		t.Errorf("got %q, want %q", got, r.generation)
	}
	var pid int
	want := r.generation + " %d\n"
	if r.lua {
		want = r.generation + " " + r.structure + " %d\n"
	}
	if _, err := fmt.Sscanf(got, want, &pid); r.proxy != "apache" && (err != nil || pid < 2) {
		t.Errorf("got %q, want %q and a worker's pid", got, r.generation)
	}
}

func sortUpstreams(b *Balancer) {
	slices.SortFunc(b.Upstreams, func(x, y Upstream) int { return strings.Compare(x.Name, y.Name) })
}

// sortedNames joins the backends that answered.
func sortedNames(seen map[string]bool) string {
	delete(seen, "")
	return strings.Join(slices.Sorted(maps.Keys(seen)), " ")
}
