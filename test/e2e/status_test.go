package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// A state is what a test wants to know of `render status --output json`.
type state struct {
	ID      string `json:"id"`
	Desired struct {
		Generation string `json:"generation"`
	} `json:"desired"`
	Running struct {
		Generation string `json:"generation"`
		Revision   int64  `json:"revision"`
	} `json:"running"`
	OnDisk  string `json:"on_disk"`
	Error   string `json:"error"`
	History []struct {
		Cause struct {
			Kind, Key string
			Revision  int64
		} `json:"cause"`
	} `json:"history"`
	Quarantined []struct{ Service, Reason string } `json:"quarantined"`
	Renderers   []struct {
		ID        string `json:"id"`
		Healthy   bool   `json:"healthy"`
		Lag       int64  `json:"lag"`
		LastError string `json:"last_error"`
	} `json:"renderers"`
}

// show runs `render status` for a balancer.
func (b *balancer) show(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(testbed.render, append([]string{"status", "--status-listen", strings.TrimPrefix(b.status, "http://")}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *balancer) state(t *testing.T) state {
	t.Helper()
	_, _, body := get(b.status + "/status")
	var s state
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return s
}

// What `render status` shows of a change: its key and revision, and what it changed; and
// of the other renderers: whether they follow, and what keeps them from it.
func TestStatus(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	put(t, endpoint, "/services/web/a", serveName(t, "a"))
	one := startRender(t, "haproxy", endpoint, "--service", "web", "--id", "one", "--set", "dynamic=off")
	two := startRender(t, "nginx", endpoint, "--service", "web", "--id", "two")
	address := serveName(t, "b")
	put(t, endpoint, "/services/web/b", address)
	eventually(t, "both follow", func() error { return errors.Join(evenly(one.url, "a", "b"), evenly(two.url, "a", "b")) })

	var s state
	eventually(t, "both are seen without lag", func() error {
		if err := json.Unmarshal([]byte(one.show(t, "--output", "json")), &s); err != nil {
			return err
		}
		if len(s.Renderers) != 2 {
			return fmt.Errorf("renderers %+v", s.Renderers)
		}
		for _, r := range s.Renderers {
			if !r.Healthy || r.Lag != 0 {
				return fmt.Errorf("renderers %+v", s.Renderers)
			}
		}
		return nil
	})
	if s.ID != "one" || s.Running.Generation == "" || s.Desired.Generation != s.Running.Generation || s.OnDisk != s.Running.Generation {
		t.Errorf("desired, on disk, running: %+v", s)
	}
	cause := s.History[0].Cause
	if cause.Kind != "added" || cause.Key != "/services/web/b" || cause.Revision == 0 || cause.Revision > s.Running.Revision {
		t.Errorf("the cause is %+v", cause)
	}
	table := one.show(t, "--diff")
	for _, want := range []string{
		"BALANCER", "DESIRED", "ON DISK", "RUNNING", s.Running.Generation, fmt.Sprintf("%d  ", cause.Revision), "added /services/web/b",
		"one (this)", "two", "serving", "\n+", address,
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	launchRender(t, "nginx", endpoint, "--service", "web", "--id", "three", "--listen", taken.Addr().String())
	eventually(t, "the others see who does not serve, and why", func() error {
		table := two.show(t)
		for line := range strings.Lines(table) {
			if strings.HasPrefix(line, "three ") && strings.Contains(line, taken.Addr().String()) {
				return nil
			}
		}
		return errors.New(table)
	})
}
