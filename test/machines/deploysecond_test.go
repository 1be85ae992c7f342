package machines_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"rollcall/test/loadgen"
	"rollcall/test/machines"
)

// answered waits until every web server has given so many more good answers, and gives by whom of
// the versions they were, web server by web server.
func (tr *traffic) answered(n int64) []map[string]int64 {
	tr.t.Helper()
	var all []map[string]int64
	before := make([]loadgen.Result, len(tr.loads))
	for i, load := range tr.loads {
		before[i] = load.Snapshot()
	}
	for i, load := range tr.loads {
		var since loadgen.Result
		err := machines.Poll(tr.t.Context(), tr.kinds[i]+" answers requests", func() error {
			now := load.Snapshot()
			since = now.Since(&before[i])
			if since.Counts[loadgen.OK] < n {
				return fmt.Errorf("it has answered %d of %d", since.Counts[loadgen.OK], n)
			}
			return nil
		})
		if err != nil {
			tr.t.Fatal(err)
		}
		all = append(all, since.Versions)
	}
	return all
}

// A canary of weight 10 beside six of weight 100 gets its share, comes and goes without a loss.
func TestCanary(t *testing.T) {
	c := good(t)
	forget(t, c, "web-canary")
	load := send(t, c)
	m, commands := c.Machines[2], snippets(t, "Canary")
	run(t, m, commands[0])
	for i, versions := range load.answered(2500) {
		share := float64(versions["v2"]) / float64(versions["v1"]+versions["v2"])
		t.Logf("%s: the canary gets %.2f%%", load.kinds[i], 100*share)
		if want := 10. / 610; share < want/2 || share > want*2 {
			t.Errorf("behind %s the canary gets %.2f%% of the requests, want about %.2f%%", load.kinds[i], 100*share, 100*want)
		}
	}
	run(t, m, commands[1])
	load.flows()
	for i, versions := range load.answered(100) {
		if versions["v2"] > 0 {
			t.Errorf("behind %s the canary still answers", load.kinds[i])
		}
	}
	load.nothingLost()
}

// Green is tried while nobody is sent there, then takes the place of blue; and the way back.
func TestBlueGreen(t *testing.T) {
	c := good(t)
	forget(t, c, "web-green")
	load := send(t, c)
	m, commands := c.Machines[0], snippets(t, "Blue and green")

	list := run(t, m, commands[0])
	if n := strings.Count(list, "m1-web-green-"); n != 2 {
		t.Errorf("announce list shows %d instances of green, want 2:\n%s", n, list)
	}
	for i, versions := range load.answered(300) {
		if versions["v2"] > 0 {
			t.Errorf("behind %s green answers with weight 0", load.kinds[i])
		}
	}
	said := run(t, m, `curl --silent http://$(announce list website | awk '$2 == "m1-web-green-1" {print $3}')/`)
	if !strings.Contains(said, "version v2") {
		t.Errorf("green itself answers %q", said)
	}

	run(t, m, commands[1])
	if err := without(t, c, c.Instance(1), c.Instance(2)); err != nil {
		t.Error(err)
	}
	for i, versions := range load.answered(300) {
		if versions["v2"] == 0 {
			t.Errorf("behind %s green does not answer", load.kinds[i])
		}
	}

	run(t, m, commands[2])
	load.nothingLost()
}

// without fails if an instance still answers behind any web server.
func without(t *testing.T, c *machines.Cluster, names ...string) error {
	var errs []error
	for _, m := range c.Machines {
		answering, err := m.Answering(t.Context(), machines.Service)
		if err != nil {
			errs = append(errs, err)
		}
		for _, name := range names {
			if strings.Contains(strings.Join(answering, " ")+" ", name+" ") {
				errs = append(errs, fmt.Errorf("%s still answers behind %s: %v", name, m.Name, answering))
			}
		}
	}
	return errors.Join(errs...)
}

// The documented script, for containers that are called shop: all get the new image; with one
// that does not run it stops at the first, and the others serve on.
func TestDeployScript(t *testing.T) {
	c := good(t)
	forget(t, c, "shop")
	shop := strings.NewReplacer("website", "website", "web", "shop")
	m := c.Machines[1]
	run(t, m, shop.Replace(snippets(t, "An application")[0]))
	const path = "/usr/local/sbin/deploy-shop"
	if err := m.Write(t.Context(), path, "755", shop.Replace(snippets(t, "A rolling deploy")[0])); err != nil {
		t.Fatal(err)
	}

	load := send(t, c)
	run(t, m, path+" hello:v2")
	if images := run(t, m, `docker inspect --format '{{.Config.Image}}' shop-1 shop-2`); images != "hello:v2\nhello:v2" {
		t.Errorf("there run %q, want hello:v2 twice", images)
	}
	run(t, m, `printf 'FROM hello:v2\nENTRYPOINT ["/nothing"]\n' | docker build --quiet --tag hello:broken -`)
	out := run(t, m, "! "+path+" hello:broken 2>&1")
	t.Logf("%s", out)
	if images := run(t, m, `docker inspect --format '{{.Config.Image}}' shop-2`); images != "hello:v2" {
		t.Errorf("shop-2 runs %q, want hello:v2", images)
	}
	run(t, m, path+" hello:v1")
	if images := run(t, m, `docker inspect --format '{{.Config.Image}}' shop-1 shop-2`); images != "hello:v1\nhello:v1" {
		t.Errorf("there run %q, want hello:v1 twice", images)
	}
	load.nothingLost()
}
