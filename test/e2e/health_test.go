package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// post tells a container's server something.
func post(t *testing.T, url string) {
	t.Helper()
	res, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("POST %s gets %s", url, res.Status)
	}
}

// at gives where a container's port is published.
func at(t *testing.T, name, port string) string {
	t.Helper()
	first, _, _ := strings.Cut(docker(t, "port", name, port), "\n")
	return strings.Replace(first, "0.0.0.0", testbed.address, 1)
}

// withHealthcheck gives the test image with a HEALTHCHECK, which --health-cmd would give to
// a shell that is not in it.
func withHealthcheck(t *testing.T) (image string) {
	t.Helper()
	name := unique("healthcheck")
	docker(t, "create", "--name", name, testbed.image)
	t.Cleanup(func() { _, _ = command("docker", "rm", name) })
	image = testbed.image + "-" + name
	docker(t, "commit", "-c", `HEALTHCHECK --interval=500ms --retries=2 CMD ["/hello", "-check"]`, name, image)
	t.Cleanup(func() { _, _ = command("docker", "rmi", image) })
	return image
}

// A container is announced only while its own HEALTHCHECK, or the check that it asks for,
// says that it is well.
func TestHealthDecides(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"HEALTHCHECK": nil,
		"http":        {"--label", "rollcall.check=http://:8080/healthz", "--label", "rollcall.check.interval=200ms", "--label", "rollcall.check.timeout=200ms"},
		"registrator": {"-e", "SERVICE_CHECK_HTTP=/healthz", "-e", "SERVICE_CHECK_INTERVAL=200ms", "-e", "SERVICE_CHECK_TIMEOUT=200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			web, image := unique("web"), testbed.image
			if name == "HEALTHCHECK" {
				image = withHealthcheck(t)
			}
			startAnnounce(t, endpoint, "--container", web, "--service", "website")
			r := record(t, endpoint, "website")
			// The sidekick is there before its container is.
			runImage(t, image, web, "v1", append([]string{"-P"}, args...)...)
			r.holds(t, "it is well", "website/"+web)
			url := "http://" + at(t, web, "8080/tcp")
			post(t, url+"/sick")
			r.holds(t, "it is sick")
			post(t, url+"/well")
			r.holds(t, "it is well again", "website/"+web)
			docker(t, "pause", web)
			r.holds(t, "it is paused")
			docker(t, "unpause", web)
			r.holds(t, "it goes on", "website/"+web)
			docker(t, "kill", web)
			r.holds(t, "it is gone")
		})
	}
}

// A check by tcp is all that a database needs, and a port that nobody listens on is no service.
func TestTCPCheck(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	service, web, late := unique("db"), unique("web"), unique("late")
	a := startAnnounce(t, endpoint, "--explicit", "--check", "tcp://", "--check-interval", "200ms", "--check-timeout", "200ms")
	r := record(t, endpoint, service)
	of := func(name string) []string {
		return []string{"--label", "rollcall.service=" + service, "--label", "rollcall.instance=" + name}
	}
	runContainer(t, web, "v1", append(of(web), "-P")...)
	// It listens on another port than the one that is published; inside, so that Docker's
	// proxy, which accepts before it knows, does not answer in its place.
	runContainer(t, late, "v1", append(of(late), "-P", "-e", "LISTEN=:9999", "--label", "rollcall.internal=true")...)
	r.holds(t, "one is announced", service+"/"+web)
	eventually(t, "the other fails its check", func() error {
		if !strings.Contains(a.output(), "check tcp:// at") {
			return fmt.Errorf("announce says %s", a.output())
		}
		return nil
	})
	r.holds(t, "one is announced still", service+"/"+web)
}

// Replaced under one name: the record is that of the successor, and what Docker tells of
// the other's end does not touch it.
func TestReplacedUnderOneName(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	web := unique("web")
	startAnnounce(t, endpoint, "--container", web, "--service", "website")
	r := record(t, endpoint, "website")
	const rounds = 5
	for n := range rounds {
		if n > 0 {
			docker(t, "rm", "-f", web)
		}
		runContainer(t, web, fmt.Sprint("v", n), "-P")
		id := docker(t, "inspect", "--format", "{{.Id}}", web)
		eventually(t, "the record is the successor's", func() error {
			if v := r.keys(t)["website/"+web]; !strings.Contains(v, id) {
				return fmt.Errorf("record %q, want container %s", v, id)
			}
			return nil
		})
	}
	puts := 0
	for _, e := range r.caughtUp(t) {
		if strings.HasPrefix(e, "put ") {
			puts++
		}
	}
	if puts != rounds {
		t.Errorf("%d puts for %d containers", puts, rounds)
	}
	r.holds(t, "nothing came late", "website/"+web)
}
