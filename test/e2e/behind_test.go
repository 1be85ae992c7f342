package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rollcall/test/ports"
)

// holds checks what a file says.
func holds(path, want string) error {
	text, err := os.ReadFile(path)
	if err == nil && string(text) != want {
		err = fmt.Errorf("%s is\n%s", path, text)
	}
	return err
}

// Nothing changes in the catalog; somebody else changes what is on disk, or what runs.
// All at the same time: it takes up to ten seconds until it is seen.
func TestBehindOurBack(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	put(t, endpoint, "/services/web/a", serveName(t, "a"))
	var checks []func()
	add := func(what string, b *balancer, output string, disturb func(before string)) {
		t.Helper()
		eventually(t, "before "+what, func() error { return errors.Join(ready(b.status), evenly(b.url, "a")) })
		before, err := os.ReadFile(output)
		if err != nil {
			t.Fatal(err)
		}
		disturb(string(before))
		checks = append(checks, func() {
			t.Helper()
			eventually(t, "after "+what, func() error {
				return errors.Join(holds(output, string(before)), ready(b.status), evenly(b.url, "a"))
			})
		})
	}
	for _, proxy := range balancers {
		dir := serverDir(t)
		output, pid := filepath.Join(dir, "balancer.conf"), filepath.Join(dir, "pid")
		b := startRender(t, proxy, endpoint, "--service", "web", "--output", output, "--pid-file", pid)
		add(proxy+" is killed and its file deleted", b, output, func(string) {
			if err := errors.Join(syscall.Kill(pidIn(t, pid), syscall.SIGKILL), os.Remove(output)); err != nil {
				t.Fatal(err)
			}
		})

		s := newServer(t, proxy)
		status := local(ports.Free(t))
		beside := &balancer{url: s.url, status: "http://" + status}
		beside.process = start(t, nil, testbed.render, s.args(endpoint, "--service", "web", "--status-listen", status)...)
		add(proxy+" is started with a configuration of somebody else's", beside, s.output(), func(before string) {
			theirs := strings.ReplaceAll(before, beside.state(t).Running.Generation, "theirs")
			if theirs == before {
				t.Fatal("the configuration does not hold its generation")
			}
			s.signal(syscall.SIGTERM)
			s.wait()
			replace(t, s.output(), theirs)
			s.run(t)
		})
	}
	s := newServer(t, "nginx")
	status := local(ports.Free(t))
	edited := &balancer{url: s.url, status: "http://" + status}
	edited.process = start(t, nil, testbed.render, s.args(endpoint, "--service", "web", "--status-listen", status)...)
	add("its file is edited", edited, s.output(), func(before string) {
		replace(t, s.output(), before+"this is nonsense;\n")
		edited.says(t, `"on_disk": "edited"`)
	})
	for _, check := range checks {
		check()
	}
}

func pidIn(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
