package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"
)

// A front is where one server of any kind serves, with all its things in one directory.
type front struct {
	proxy, dir, listen string
	control            string       // a socket's path; for Apache, an address
	client             *http.Client // of control
}

func newFront(tb testing.TB, proxy string) front {
	tb.Helper()
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the workers are another user's
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	f := front{proxy: proxy, dir: dir, listen: ports.Address(tb), control: filepath.Join(dir, "control.sock")}
	network := "unix"
	if proxy == "apache" {
		network, f.control = "tcp", ports.Address(tb)
	}
	f.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, f.control)
		},
	}}
	return f
}

func (f front) config() string {
	if f.proxy == "haproxy" {
		return filepath.Join(f.dir, "haproxy.cfg")
	}
	return filepath.Join(f.dir, f.proxy+".conf")
}

// generation asks one worker, on a connection of its own.
func (f front) generation() (string, error) {
	res, err := f.client.Get("http://" + f.proxy + "/rollcall/generation")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	generation, _, _ := strings.Cut(strings.TrimSpace(string(body)), " ")
	return generation, err
}

// chosen gives who answers a request on a connection of its own, by its address.
func (f front) chosen() (string, error) {
	conn, err := net.DialTimeout("tcp", f.listen, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+pool+"\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return "", errors.Join(fmt.Errorf("answered %s", res.Status), err)
	}
	return string(body), err
}

// answers waits until a member is the one who answers, and gives the time.
func (f front) answers(tb testing.TB, began time.Time, address string) time.Time {
	tb.Helper()
	// Each look is a request to all of them, while the server is to load its configuration.
	return keenly(tb, began, 20, f.proxy+" asks "+address, func() error {
		if got, err := f.chosen(); err != nil || got != address {
			return fmt.Errorf("%q answers (%w)", got, err)
		}
		return nil
	})
}

// keenly asks until check gives nil, and gives the time: of what takes milliseconds to half
// of one, of what takes longer to one of so many parts. More would be work that the server
// lacks.
func keenly(tb testing.TB, began time.Time, parts time.Duration, what string, check func() error) time.Time {
	tb.Helper()
	for ; ; time.Sleep(max(time.Millisecond/2, time.Since(began)/parts)) {
		err := check()
		switch now := time.Now(); {
		case err == nil:
			return now
		case now.Sub(began) > patience:
			tb.Fatalf("%s: %v", what, err)
		}
	}
}

// A worker is a process that serves, and the sockets on which it accepted connections.
type worker struct {
	pid     int
	sockets map[string]bool
}

// workersOf gives the children of a master, which listen at the front or did.
func (f front) workersOf(tb testing.TB, master int) []worker {
	tb.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", master))
	if err != nil {
		tb.Fatal(err)
	}
	sockets := listeners(tb, f.listen)
	var found []worker
	for field := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			tb.Fatal(err)
		}
		found = append(found, worker{pid, sockets})
	}
	return found
}

// accepts says whether the worker still takes connections. Whoever is told to finish
// closes what it listens on.
func (w worker) accepts() bool {
	dir := fmt.Sprintf("/proc/%d/fd/", w.pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended
	}
	for _, file := range files {
		if to, err := os.Readlink(dir + file.Name()); err == nil && w.sockets[to] {
			return true
		}
	}
	return false
}

func (w worker) alive() bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.pid))
	return err == nil && len(title) > 0
}

// listeners gives the sockets that accept connections to an address, as links to them are
// called: from proc_pid_net(5), which lists them before all others.
func listeners(tb testing.TB, address string) map[string]bool {
	tb.Helper()
	table, err := os.Open("/proc/self/net/tcp")
	if err != nil {
		tb.Fatal(err)
	}
	defer table.Close()
	_, text, _ := strings.Cut(address, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	found := map[string]bool{}
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		const local, state, inode = 1, 3, 9
		if len(fields) <= inode || string(fields[state]) != "0A" {
			break
		}
		if bytes.HasSuffix(fields[local], fmt.Appendf(nil, ":%04X", port)) {
			found[fmt.Sprintf("socket:[%s]", fields[inode])] = true
		}
	}
	return found
}
