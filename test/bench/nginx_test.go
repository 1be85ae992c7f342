package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"
)

// An nginx is one as a supervising render runs it: all its things in one directory.
type nginx struct {
	dir    string
	listen string
	client *http.Client // of its control socket
}

func newNginx(tb testing.TB) nginx {
	tb.Helper()
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	n := nginx{dir: dir, listen: ports.Address(tb)}
	n.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.control())
		},
	}}
	return n
}

func (n nginx) config() string  { return filepath.Join(n.dir, "nginx.conf") }
func (n nginx) control() string { return filepath.Join(n.dir, "control.sock") }
func (n nginx) pidFile() string { return filepath.Join(n.dir, "nginx.pid") }

// workers gives whom nginx's workers run as, user and group; its own may not enter the directories here.
func workers() (string, string) {
	u, err := user.Current()
	if err != nil || u.Uid != "0" {
		return "", ""
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		return "", ""
	}
	return u.Username, g.Name
}

// generation asks one worker, which is as a rule not the one that was asked before.
func (n nginx) generation() (string, error) {
	res, err := n.client.Get("http://nginx/rollcall/generation")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	generation, _, _ := strings.Cut(string(body), " ")
	return generation, err
}

// master is the process id of the one that runs now.
func (n nginx) master() (int, error) {
	text, err := os.ReadFile(n.pidFile())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// processes gives the workers that accept connections, by process id, and how many
// others still finish what they have begun.
func (n nginx) processes() (accepting map[int]bool, closing int, err error) {
	master, err := n.master()
	if err != nil {
		return nil, 0, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", master))
	if err != nil {
		return nil, 0, err
	}
	accepting = map[int]bool{}
	for field := range strings.FieldsSeq(string(children)) {
		title, err := os.ReadFile("/proc/" + field + "/cmdline")
		switch {
		case err != nil: // it has just ended
		case strings.Contains(string(title), "is shutting down"):
			closing++
		case strings.HasPrefix(string(title), "nginx: worker process"):
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, 0, err
			}
			accepting[pid] = true
		}
	}
	return accepting, closing, nil
}

// served waits until a generation is answered and none of the old workers accepts any more.
func (n nginx) served(tb testing.TB, generation string, old map[int]bool) {
	tb.Helper()
	poll(tb, "nginx serves "+generation, time.Millisecond/2, func() error {
		if got, err := n.generation(); err != nil || got != generation {
			return fmt.Errorf("it serves %q (%w)", got, err)
		}
		accepting, _, err := n.processes()
		for pid := range accepting {
			if old[pid] {
				return fmt.Errorf("worker %d still accepts", pid)
			}
		}
		return err
	})
}
