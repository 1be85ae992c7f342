package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// A confd is the floor, by hand and for any proxy: what programs do that render a file,
// have it checked, and reload. It hears of a change, renders the built-in template, writes
// it to disk, has the server check it, puts it in place, and tells the server. That the
// server has done as told no such program waits for; here it is measured.
type confd struct {
	*liveBed
	front    front
	server   *process
	events   <-chan sighting
	template *templates.Template
	balancer templates.Balancer
	own      sample // from the signal until all workers that accept are new
}

var _ contestant = (*confd)(nil)

// confdPrefix is where the records are that no render reads.
const confdPrefix = "/confd"

// commands are how the proxies are run and checked, with the file as the last word, and
// the signal by which they reload.
var commands = map[string]struct {
	run, check []string
	reload     syscall.Signal
}{
	"nginx":   {[]string{"nginx", "-g", "daemon off;", "-c"}, []string{"nginx", "-t", "-q", "-c"}, syscall.SIGHUP},
	"apache":  {[]string{"apache2", "-DFOREGROUND", "-f"}, []string{"apache2", "-t", "-f"}, syscall.SIGUSR1},
	"haproxy": {[]string{"haproxy", "-W", "-f"}, []string{"haproxy", "-c", "-f"}, syscall.SIGUSR2},
}

// newConfd returns when the server serves the whole pool.
func newConfd(b *liveBed, proxy string) *confd {
	b.tb.Helper()
	c := &confd{liveBed: b, front: newFront(b.tb, proxy), events: b.store.follow(confdPrefix + "/")}
	var err error
	if c.template, err = templates.Builtin(proxy); err != nil {
		b.tb.Fatal(err)
	}
	user, group := unprivileged(b.tb)
	c.balancer = templates.Balancer{
		Proxy: proxy, Standalone: true, Settings: templates.DefaultSettings(), Listen: []string{c.front.listen}, Control: c.front.control,
		User: user, Group: group, PidFile: filepath.Join(c.front.dir, "server.pid"), ErrorLog: "stderr", RunDir: c.front.dir,
		Upstreams: []templates.Upstream{{Name: pool}}, Default: templates.VirtualHost{Routes: []templates.Route{{Upstream: pool}}},
	}
	for i := range b.members {
		f := b.fellow(i)
		c.set(f.name, f.record)
	}
	if proxy == "apache" {
		c.balancer.Modules = "/usr/lib/apache2/modules"
	}
	if proxy == "haproxy" {
		c.balancer.HostMap = filepath.Join(c.front.dir, "hosts.map")
		hosts, err := templates.HostMap(c.balancer)
		if err == nil {
			err = os.WriteFile(c.balancer.HostMap, hosts, 0o644)
		}
		if err != nil {
			b.tb.Fatal(err)
		}
	}
	generation := c.write()
	run := append(slices.Clone(commands[proxy].run), c.front.config())
	c.server = launch(b.tb, nil, run[0], run[1:]...)
	b.tb.Cleanup(c.server.stop)
	c.serves(time.Now(), generation, nil)
	c.gone(time.Now(), nil)
	return c
}

// unprivileged gives whom render would have the workers run as.
func unprivileged(tb testing.TB) (name, group string) {
	tb.Helper()
	if os.Getuid() != 0 {
		return "", ""
	}
	u, err := user.Lookup("www-data")
	if err != nil {
		tb.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		tb.Fatal(err)
	}
	return u.Username, g.Name
}

// set takes a record into the balancer; an empty one is out of it.
func (c *confd) set(name, record string) {
	c.tb.Helper()
	u := &c.balancer.Upstreams[0]
	at, found := slices.BinarySearchFunc(u.Servers, name, func(s templates.Server, name string) int { return strings.Compare(s.Name, name) })
	servers := u.Servers
	if c.server != nil {
		servers = slices.Clone(servers) // the template compares with those that it has seen
	}
	if found {
		servers = slices.Delete(servers, at, at+1)
	}
	if record != "" {
		in, err := discovery.DecodeRecord(pool, name, []byte(record))
		if err != nil {
			c.tb.Fatal(err)
		}
		servers = slices.Insert(servers, at, templates.Server{
			Name: in.Name, Host: in.Host, Port: in.Port, Address: fmt.Sprintf("%s:%d", in.Host, in.Port), Weight: in.Weight, Version: in.Version, Node: in.Node,
		})
	}
	u.Servers = servers
}

// write has the configuration checked and puts it on disk.
func (c *confd) write() (generation string) {
	c.tb.Helper()
	out, err := c.template.Render(c.balancer)
	if err != nil {
		c.tb.Fatal(err)
	}
	staged := filepath.Join(c.front.dir, ".staged")
	if err = writeSynced(staged, out.Content); err == nil {
		check := append(slices.Clone(commands[c.front.proxy].check), staged)
		var said []byte
		if said, err = exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	if err = errors.Join(err, os.Rename(staged, c.front.config())); err == nil {
		err = syncDirectory(c.front.dir)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	return out.Generation
}

// serves waits until a generation is answered and none of the old workers accepts any more.
func (c *confd) serves(began time.Time, generation string, old []worker) time.Time {
	c.tb.Helper()
	return keenly(c.tb, began, 50, c.front.proxy+" serves "+generation, func() error {
		if got, err := c.front.generation(); err != nil || got != generation {
			return fmt.Errorf("it serves %q (%w)", got, err)
		}
		for _, w := range old {
			if w.accepts() {
				return fmt.Errorf("worker %d still accepts", w.pid)
			}
		}
		return nil
	})
}

// gone waits until none of the old workers is left, and gives the time; then until the next
// signal will be heard: HAProxy's master reloads by starting itself anew.
func (c *confd) gone(began time.Time, old []worker) time.Time {
	c.tb.Helper()
	at := keenly(c.tb, began, 50, "the old workers end", func() error {
		for _, w := range old {
			if w.alive() {
				return fmt.Errorf("worker %d is left", w.pid)
			}
		}
		return nil
	})
	keenly(c.tb, time.Now(), 50, "the master listens to signals", func() error {
		if !c.server.catches(commands[c.front.proxy].reload) {
			return fmt.Errorf("%s is not caught", commands[c.front.proxy].reload)
		}
		return nil
	})
	return at
}

// reload does all that follows from the next event, and gives when the server was told.
func (c *confd) reload() (generation string, told time.Time) {
	c.tb.Helper()
	select {
	case seen := <-c.events:
		c.set(filepath.Base(seen.key), string(seen.value))
		c.balancer.Revision = seen.revision
	case <-time.After(patience):
		c.tb.Fatal("the change was not seen")
	}
	generation = c.write()
	c.server.signal(commands[c.front.proxy].reload)
	return generation, time.Now()
}

func (c *confd) join(f fellow) time.Duration {
	c.tb.Helper()
	old := c.front.workersOf(c.tb, c.server.cmd.Process.Pid)
	began := time.Now()
	c.store.put(c.key(confdPrefix, f), f.record)
	generation, _ := c.reload()
	answers := c.front.answers(c.tb, began, c.address(f))
	c.serves(began, generation, old)
	c.gone(began, old)
	return answers.Sub(began)
}

func (c *confd) leave(f fellow) (applied, drained time.Duration) {
	c.tb.Helper()
	old := c.front.workersOf(c.tb, c.server.cmd.Process.Pid)
	began := time.Now()
	c.store.remove(c.key(confdPrefix, f))
	generation, told := c.reload()
	serves := c.serves(began, generation, old)
	c.own = append(c.own, serves.Sub(told))
	return serves.Sub(began), c.gone(began, old).Sub(began)
}
