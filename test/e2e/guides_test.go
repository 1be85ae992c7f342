package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"rollcall/test/ports"
)

// The classic sidekick guide: one announcer beside one container, and a JSON
// object that a script reads with etcdctl.
func TestSidekickGuide(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	name := unique("apache1")
	key := "/services/website/" + name
	value := func() string { return etcdctl(t, endpoint, "get", "--print-value-only", key) }
	args := []string{"--container", name, "--service", "website", "--service-version", "52c7248a14", "--ttl", "2s"}

	// The sidekick may be there before its container.
	sidekick := startAnnounce(t, endpoint, args...)
	runContainer(t, name, "v1", "-P")
	var record struct {
		Host, Version string
		Port          int
	}
	announced := func() {
		t.Helper()
		eventually(t, "the record is there", func() error {
			if v := value(); v != "" {
				return json.Unmarshal([]byte(v), &record)
			}
			return errors.New("no value")
		})
	}
	announced()
	if record.Host != testbed.address || record.Version != "52c7248a14" {
		t.Errorf("got host %q and version %q, want %q and 52c7248a14", record.Host, record.Version, testbed.address)
	}
	eventually(t, "the announced endpoint answers", func() error {
		code, header, body := get(fmt.Sprintf("http://%s:%d/", record.Host, record.Port))
		if code != http.StatusOK || header.Get("X-Instance") != name {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})

	sidekick.signal(syscall.SIGTERM)
	if code := sidekick.wait(); code != 0 {
		t.Errorf("announce exits with %d after TERM, want 0", code)
	}
	if v := value(); v != "" {
		t.Errorf("the record is still there after TERM: %s", v)
	}

	sidekick = startAnnounce(t, endpoint, args...)
	announced()
	sidekick.signal(syscall.SIGKILL)
	sidekick.wait()
	if value() == "" {
		t.Error("the record went with kill -9; its lease should have kept it")
	}
	eventually(t, "the record goes with its lease", func() error {
		if v := value(); v != "" {
			return errors.New(v)
		}
		return nil
	})
}

// The Apache guide: application containers as ip:port under /applications, and one
// Apache with mod_proxy_balancer in front of them.
func TestApacheGuide(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	suffix := unique("")
	name := func(n int) string { return fmt.Sprintf("sample.application.%d%s", n, suffix) }
	// The announcers end in order at the end, while their containers are still there.
	add := func(n int, version string, ports ...string) *process {
		t.Helper()
		runContainer(t, name(n), version, ports...)
		return startAnnounce(t, endpoint, "--container", name(n), "--service", "sample", "--prefix", "/applications", "--layout", "hostport")
	}
	fixed := fmt.Sprintf("%d:8080", ports.Free(t))
	add(1, "v1", "-P")
	add(2, "v1", "-P")
	add(3, "v1", "-p", fixed)
	add(4, "v2", "-P")
	fifth := add(5, "v2", "-P")

	b := startRender(t, "apache", endpoint, "--prefix", "/applications", "--route", "/sample=sample")
	sample := b.url + "/sample"
	eventually(t, "requests are spread over five", func() error {
		return evenly(sample, name(1), name(2), name(3), name(4), name(5))
	})
	value := etcdctl(t, endpoint, "get", "--print-value-only", "/applications/sample/"+name(3))
	if want := testbed.address + ":" + strings.TrimSuffix(fixed, ":8080"); value != want {
		t.Errorf("the record of a fixed port is %q, want %q", value, want)
	}

	add(6, "v2", "-P")
	eventually(t, "a sixth joins", func() error {
		return evenly(sample, name(1), name(2), name(3), name(4), name(5), name(6))
	})
	fifth.signal(syscall.SIGTERM)
	if code := fifth.wait(); code != 0 {
		t.Errorf("announce exits with %d after TERM, want 0", code)
	}
	// Announce has returned, so no request goes there any more: no need to wait.
	if err := evenly(sample, name(1), name(2), name(3), name(4), name(6)); err != nil {
		t.Errorf("after one has left: %v", err)
	}
	if code, _, _ := get(b.url + "/other"); code != http.StatusNotFound {
		t.Errorf("a path without a route gets %d, want 404", code)
	}
}

// The web guide: a directory for each instance, written by hand.
func TestWebGuide(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	names := []string{unique("web01"), unique("web02")}
	ports := make([]string, len(names))
	for n, name := range names {
		runContainer(t, name, "v1", "-P")
		mapped := docker(t, "port", name, "8080/tcp")
		first, _, _ := strings.Cut(mapped, "\n")
		ports[n] = first[strings.LastIndexByte(first, ':')+1:]
	}
	directory := func(n int, fields ...string) {
		t.Helper()
		all := map[string]string{
			"host": "core02", "unit": "web@01.service", "port": ports[n],
			"public_ipv4_addr": testbed.address, "private_ipv4_addr": testbed.address,
		}
		for _, f := range fields {
			put(t, endpoint, "/services/web/"+names[n]+"/"+f, all[f])
		}
	}
	b := startRender(t, "nginx", endpoint)
	fromWeb := func() (int, http.Header, string) { return getHost(b.url, "web") }

	directory(0, "host", "public_ipv4_addr", "private_ipv4_addr", "port", "unit")
	eventually(t, "the first is routed", func() error {
		if code, header, body := fromWeb(); code != http.StatusOK || header.Get("X-Instance") != names[0] {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})

	// Half-written: it has an address, but no port.
	directory(1, "host", "private_ipv4_addr", "unit")
	eventually(t, "render has seen the half-written one", func() error {
		if _, _, body := get(b.status + "/status"); !strings.Contains(body, "/services/web/"+names[1]) {
			return errors.New(body)
		}
		return nil
	})
	for range 20 {
		if code, header, body := fromWeb(); code != http.StatusOK || header.Get("X-Instance") != names[0] {
			t.Fatalf("with a half-written directory: %d from %q: %s", code, header.Get("X-Instance"), body)
		}
	}
	directory(1, "port")
	eventually(t, "the second is routed when it is complete", func() error {
		seen := map[string]bool{}
		for range 20 {
			_, header, _ := fromWeb()
			seen[header.Get("X-Instance")] = true
		}
		if !seen[names[0]] || !seen[names[1]] {
			return fmt.Errorf("answers from %v", seen)
		}
		return nil
	})
}
