package pack

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"
)

// pause is how long a condition that is not there yet is left alone.
const pause = 100 * time.Millisecond

// compose is one project of the example, which is what the images are for.
type compose struct {
	t       *testing.T
	command []string
	env     []string
	url     string
}

// up starts what is not as it should be.
func (c *compose) up(balancer string, websites int) {
	c.t.Helper()
	args := append(c.command[1:len(c.command):len(c.command)], "up", "-d", "--scale", "website="+strconv.Itoa(websites))
	run(c.t, append(c.env, "BALANCER="+balancer), c.command[0], args...)
}

// answers waits until so many websites have answered one after the other, and nothing else.
func (c *compose) answers(websites int) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	last := "nothing yet"
	for seen := map[string]bool{}; len(seen) < websites; {
		if time.Now().After(deadline) {
			args := append(c.command[1:len(c.command):len(c.command)], "logs", "--no-color", "--tail=30")
			logs, _ := try(c.t, c.env, c.command[0], args...)
			c.t.Fatalf("%d of %d websites answer through the balancer; last: %s\n%s", len(seen), websites, last, logs)
		}
		res, err := http.Get(c.url)
		if err != nil {
			last = err.Error()
			<-time.After(pause)
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		last = fmt.Sprint(res.Status, " ", string(body), err)
		if res.StatusCode == http.StatusOK && strings.HasPrefix(string(body), "hello from ") {
			seen[string(body)] = true
		} else {
			<-time.After(pause)
		}
	}
}

// TestImages builds them and runs the example with each balancer. Its base is the machine's
// image, which has the packages: so nothing is fetched.
func TestImages(t *testing.T) {
	t.Parallel()
	base := strings.Fields(run(t, nil, "scripts/machine-image"))
	tag := "test-" + strconv.Itoa(os.Getpid())
	built := strings.Fields(run(t, []string{"TAG=" + tag, "BASE=" + base[len(base)-1]}, "make", "--silent", "images", "BASE="+base[len(base)-1]))
	t.Cleanup(func() { _ = exec.Command("docker", append([]string{"rmi", "-f"}, built...)...).Run() })
	if len(built) != 5 {
		t.Fatalf("make images says %q, want five images", built)
	}

	port := ports.Free(t)
	c := &compose{
		t: t, url: fmt.Sprintf("http://127.0.0.1:%d/", port),
		command: append(composeCommand(t), "-p", "rollcall-"+tag, "-f", "packaging/docker/compose.yaml"),
		env:     []string{"TAG=" + tag, "PORT=" + strconv.Itoa(port), "COMPOSE_IGNORE_ORPHANS=1"},
	}
	t.Cleanup(func() {
		down := exec.Command(c.command[0], append(c.command[1:len(c.command):len(c.command)], "down", "--volumes", "--timeout", "5")...)
		down.Dir, down.Env = root, append(os.Environ(), c.env...)
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("remove the example: %v\n%s", err, out)
		}
	})
	for websites, balancer := range []string{"nginx", "apache", "haproxy"} {
		c.up(balancer, 1+websites)
		c.runs(balancer)
		c.answers(1 + websites)
	}
	c.healthy()
}

// balancer gives the id of its container.
func (c *compose) balancer() string {
	c.t.Helper()
	args := append(c.command[1:len(c.command):len(c.command)], "ps", "-q", "balancer")
	return strings.TrimSpace(run(c.t, c.env, c.command[0], args...))
}

// runs fails the test unless the balancer is of a kind: what answers does not say it.
func (c *compose) runs(kind string) {
	c.t.Helper()
	image := strings.TrimSpace(run(c.t, nil, "docker", "inspect", "--format", "{{.Config.Image}}", c.balancer()))
	if !strings.HasPrefix(image, "rollcall-"+kind+":") {
		c.t.Fatalf("the balancer is of image %s, want rollcall-%s", image, kind)
	}
}

// healthy waits until the balancer's HEALTHCHECK has been answered.
func (c *compose) healthy() {
	c.t.Helper()
	id, state := c.balancer(), ""
	for deadline := time.Now().Add(time.Minute); state != "healthy"; <-time.After(pause) {
		if time.Now().After(deadline) {
			c.t.Fatalf("the balancer is %q after a minute, want healthy", state)
		}
		state = strings.TrimSpace(run(c.t, nil, "docker", "inspect", "--format", "{{.State.Health.Status}}", id))
	}
}

// composeCommand is the plugin, or the program that was before it.
func composeCommand(t *testing.T) []string {
	t.Helper()
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		t.Fatal("neither docker compose nor docker-compose is here; install one: apt-get install docker-compose")
	}
	return []string{"docker-compose"}
}
