package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"
)

// A live is a balancer whose server takes members of the service web while it runs.
type live struct {
	*balancer
	proxy, dir, output, pid, control string
}

// startLive runs a supervised one.
func startLive(t *testing.T, proxy, endpoint string) *live {
	t.Helper()
	dir := serverDir(t)
	l := &live{proxy: proxy, dir: dir, output: filepath.Join(dir, "balancer.conf"), pid: filepath.Join(dir, "pid"), control: filepath.Join(dir, "control.sock")}
	if proxy == "apache" {
		l.control = local(ports.Free(t))
	}
	l.balancer = startRender(t, proxy, endpoint, "--service", "web", "--run-dir", dir, "--output", l.output, "--pid-file", l.pid, "--control", l.control)
	return l
}

// counts are what the status says of reloads and of changes without one.
type counts struct {
	Reloads int      `json:"reloads"`
	Members int      `json:"members_changed"`
	Leaving []string `json:"leaving"`
	OnDisk  string   `json:"on_disk"`
	Desired struct {
		Generation string `json:"generation"`
	} `json:"desired"`
}

func (b *balancer) counts(t *testing.T) counts {
	t.Helper()
	_, _, body := get(b.status + "/status")
	var c counts
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return c
}

// written waits until the files say what is desired, and that is these addresses and not those.
func (l *live) written(t *testing.T, there, gone []string) {
	t.Helper()
	eventually(t, "the file says what runs", func() error {
		text, err := os.ReadFile(l.output)
		if err != nil {
			return err
		}
		for _, address := range there {
			if !strings.Contains(string(text), address) {
				return fmt.Errorf("%s is not in\n%s", address, text)
			}
		}
		for _, address := range gone {
			if strings.Contains(string(text), address) {
				return fmt.Errorf("%s is still in\n%s", address, text)
			}
		}
		if c := l.counts(t); c.OnDisk == "" || c.OnDisk != c.Desired.Generation {
			return fmt.Errorf("on disk is %q, desired %q", c.OnDisk, c.Desired.Generation)
		}
		return nil
	})
}

// shares asks the running server itself whom it chooses from: addresses, and weights in its
// own terms.
func (l *live) shares(t *testing.T) map[string]string {
	t.Helper()
	switch l.proxy {
	case "haproxy":
		return l.haproxyShares(t)
	case "apache":
		return l.apacheShares(t)
	default:
		return l.nginxShares(t)
	}
}

// runtime has HAProxy obey a command of its runtime API.
func (l *live) runtime(t *testing.T, command string) string {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(l.dir, "control-members.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, command); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func (l *live) haproxyShares(t *testing.T) map[string]string {
	t.Helper()
	shares := map[string]string{}
	for line := range strings.Lines(l.runtime(t, "show servers state rollcall_web")) {
		f := strings.Fields(line)
		if len(f) > 18 && f[6] == "0" { // in no maintenance, and not drained
			shares[net.JoinHostPort(f[4], f[18])] = f[7]
		}
	}
	return shares
}

// secret is what render and the server know each other by.
func (l *live) secret(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, ".rollcall-"+filepath.Base(l.output)+".secret"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// manage has Apache's balancer manager show, or change, what it has.
func (l *live) manage(t *testing.T, set url.Values) string {
	t.Helper()
	secret := l.secret(t)
	path, key := l.url+"/rollcall/members-"+secret[:8], secret[8:]
	if set == nil {
		set = url.Values{}
	}
	set.Set("xml", "1")
	set.Set("nonce", key)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(set.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Rollcall-Members", key)
	req.Header.Set("Referer", l.url)
	return answered(t, &http.Transport{DisableKeepAlives: true}, req)
}

// apacheBalancer is the one of the two that requests go to.
func (l *live) apacheBalancer() string {
	if _, err := os.Stat(filepath.Join(l.dir, "side")); err == nil {
		return "brollcall-web"
	}
	return "rollcall-web"
}

func (l *live) apacheShares(t *testing.T) map[string]string {
	t.Helper()
	shares := map[string]string{}
	_, page, _ := strings.Cut(l.manage(t, nil), "<httpd:name>balancer://"+l.apacheBalancer()+"<")
	page, _, _ = strings.Cut(page, "</httpd:balancer>")
	value := func(worker, tag string) string {
		_, rest, _ := strings.Cut(worker, "<httpd:"+tag+">")
		text, _, _ := strings.Cut(rest, "<")
		return text
	}
	for _, worker := range regexp.MustCompile(`(?s)<httpd:worker>.*?</httpd:worker>`).FindAllString(page, -1) {
		status := value(worker, "status")
		if !strings.Contains(status, "Drn") && !strings.Contains(status, "Dis") && !strings.Contains(status, "Stop") {
			_, address, _ := strings.Cut(value(worker, "name"), "://")
			if _, _, err := net.SplitHostPort(address); err != nil {
				address += ":80" // which it does not say
			}
			shares[address] = value(worker, "loadfactor")
		}
	}
	return shares
}

// tell has nginx's Lua carry out a command.
func (l *live) tell(t *testing.T, commands string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://control/rollcall/members", strings.NewReader(commands))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Rollcall-Secret", l.secret(t))
	var d net.Dialer
	return answered(t, &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", l.control)
	}}, req)
}

func (l *live) nginxShares(t *testing.T) map[string]string {
	t.Helper()
	shares := map[string]string{}
	_, pieces, _ := strings.Cut(l.tell(t, "read web\n"), "\n") // the first line says whose answer it is
	for line := range strings.Lines(pieces) {
		if strings.HasPrefix(line, "pool ") {
			continue
		}
		for member := range strings.SplitSeq(strings.TrimSpace(line), ";") {
			if address, weight, ok := strings.Cut(member, " "); ok {
				shares[address] = weight
			}
		}
	}
	return shares
}

func answered(t *testing.T, transport http.RoundTripper, req *http.Request) string {
	t.Helper()
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v\n%s", req.Method, req.URL, res.Status, err, body)
	}
	return string(body)
}

// A visitor is a client that keeps its connection for as long as the server does.
type visitor struct {
	conn   net.Conn
	reader *bufio.Reader
}

func visit(t *testing.T, url string) *visitor {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	v := &visitor{conn, bufio.NewReader(conn)}
	v.again(t, "at first")
	return v
}

// again sends another request on the same connection, which a reload would have closed.
func (v *visitor) again(t *testing.T, when string) {
	t.Helper()
	_ = v.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprint(v.conn, "GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n"); err != nil {
		t.Fatalf("a client's kept connection is gone %s: %v", when, err)
	}
	res, err := http.ReadResponse(v.reader, nil)
	if err != nil {
		t.Fatalf("a client's kept connection is gone %s: %v", when, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK || res.Close {
		t.Fatalf("a client's kept connection %s: %s, closing %v, %v", when, res.Status, res.Close, err)
	}
}
