package machines_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rollcall/test/loadgen"
	"rollcall/test/machines"
	"rollcall/test/proof/deploy"
)

// A short run of what make proof does for long: each container is killed when its sidekick has stopped.
func TestDeploy(t *testing.T) {
	c := good(t)
	for a := range c.Applications() {
		abrupt(t, c, a+1)
	}
	load := send(t, c)
	rolling := deploy.New(c)
	for range 2 * c.Applications() {
		took, err := rolling.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("replacement %d took %v", rolling.Replaced(), took.Round(time.Millisecond))
	}
	load.flows()
	for kind, r := range load.end() {
		if r.Lost() > 0 {
			r.Print(t.Output())
			t.Errorf("behind %s %d of %d requests are lost, want none", kind, r.Lost(), r.Sent())
		}
		if r.Versions["v1"] == 0 || r.Versions["v2"] == 0 {
			t.Errorf("behind %s %s answered, want v1 and v2", kind, loadgen.Spread(r.Versions))
		}
	}
}

// One systemctl restart is: the sidekick stops when nobody sends anything any more, the container
// is another one, and the sidekick has started when everybody sends to it.
func TestRestartOrder(t *testing.T) {
	c := good(t)
	m, web, sidekick := c.Home(2), machines.Web(2), machines.Sidekick(2)
	before := run(t, m, "date +@%s.%6N")
	if _, err := m.Systemctl(t.Context(), "restart", web, sidekick); err != nil {
		t.Fatal(err)
	}
	said := run(t, m, fmt.Sprintf("journalctl --sync; journalctl --quiet --output=cat --since=%s --unit=%s --unit=%s", before, web, sidekick))
	at := 0
	for _, want := range []string{
		"Stopping " + sidekick, "Stopped " + sidekick, "Stopping " + web, "Stopped " + web, "Started " + web, "Started " + sidekick,
	} {
		next := strings.Index(said[at:], want)
		if next < 0 {
			t.Fatalf("%q is not told after what has to be before it:\n%s", want, said)
		}
		at += next
	}
	for _, want := range []string{"msg=withdrawn records=1 confirmed_by=3 ", `msg="routed by every renderer"`} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not told:\n%s", want, said)
		}
	}
}

// snippets gives the commands that a section of docs/deploying.md shows, block by block.
func snippets(t *testing.T, section string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/deploying.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## "+section+"\n")
	if !ok {
		t.Fatalf("docs/deploying.md has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var blocks []string
	for _, b := range strings.Split(rest, "```bash\n")[1:] {
		b, _, _ = strings.Cut(b, "```")
		blocks = append(blocks, b)
	}
	return blocks
}

// run runs commands on a machine whose shell knows where etcd is, and gives what they print.
func run(t *testing.T, m *machines.Machine, commands string) string {
	t.Helper()
	const prelude = "set -euo pipefail\nexport $(grep ^ETCDCTL_ENDPOINTS= /etc/default/rollcall)\n"
	out, err := m.Run(t.Context(), "bash", "-c", prelude+commands)
	if err != nil {
		t.Fatalf("on %s: %v", m.Name, err)
	}
	return strings.TrimSpace(out)
}

// forget removes a second set of units, whatever has become of it.
func forget(t *testing.T, c *machines.Cluster, name string) {
	t.Cleanup(func() {
		const commands = `systemctl stop "$1-announce@*" "$1@*"; systemctl disable --quiet $1@1 $1@2
			rm -rf /etc/systemd/system/$1@.service /etc/systemd/system/$1-announce@.service*; systemctl daemon-reload; systemctl reset-failed`
		for _, m := range c.Machines {
			if _, err := m.Run(context.WithoutCancel(t.Context()), "bash", "-c", commands, "bash", name); err != nil {
				t.Error(err)
			}
		}
	})
}
