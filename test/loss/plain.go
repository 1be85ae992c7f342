package loss

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/templates"
	"rollcall/test/ports"
)

// A plain is what most tools do, confd for one: with every change it writes the
// configuration, has it checked and tells the server to reload. When that command has
// returned, it takes the change for done. The configuration is made from render's own
// templates, less what they do for gentle reloads.
type plain struct {
	etcd     *store
	server   *process
	how      server
	dir      string
	template *templates.Template
	balancer templates.Balancer

	mu   sync.Mutex
	done int64 // revision of what is written
	told int   // how often the server was told to reload
	last []byte
	old  []string // the server's children when it was told last
}

var _ balancer = (*plain)(nil)

// A server says how one is checked, run and reloaded.
type server struct {
	check, run []string // with the configuration as the last argument
	reload     syscall.Signal
}

// serverOf knows the three.
func serverOf(proxy string) server {
	return map[string]server{
		"nginx":   {[]string{"nginx", "-t", "-q", "-c"}, []string{"nginx", "-g", "daemon off;", "-c"}, syscall.SIGHUP},
		"apache":  {[]string{"apache2", "-t", "-f"}, []string{"apache2", "-DFOREGROUND", "-f"}, syscall.SIGUSR1},
		"haproxy": {[]string{"haproxy", "-c", "-f"}, []string{"haproxy", "-W", "-f"}, syscall.SIGUSR2},
	}[proxy]
}

func startPlain(ctx context.Context, tb testing.TB, proxy string) (*plain, error) {
	p := &plain{how: serverOf(proxy)}
	var err error
	if p.etcd, err = startEtcd(tb); err != nil {
		return nil, err
	}
	if p.dir, err = directory(tb); err != nil {
		return nil, err
	}
	if p.template, err = templates.Builtin(proxy); err != nil {
		return nil, err
	}
	p.balancer = templates.Balancer{
		Proxy: proxy, Standalone: true, Settings: templates.DefaultSettings(), Listen: []string{ports.Address(tb)},
		PidFile: filepath.Join(p.dir, "server.pid"), ErrorLog: "stderr", RunDir: p.dir,
	}
	if proxy == "apache" {
		p.balancer.Modules = "/usr/lib/apache2/modules"
	}
	if os.Getuid() == 0 {
		p.balancer.User, p.balancer.Group = "www-data", "www-data"
	}
	if err := p.apply(ctx, 0); err != nil {
		return nil, err
	}
	if p.server, err = launch(tb, nil, p.how.run[0], append(p.how.run[1:], p.config())...); err != nil {
		return nil, err
	}
	return p, poll(ctx, proxy+" listens", func() error { return listens(p.address()) })
}

func (p *plain) address() string { return p.balancer.Listen[0] }
func (p *plain) store() *store   { return p.etcd }
func (p *plain) config() string  { return filepath.Join(p.dir, "server"+extension(p.balancer.Proxy)) }

func (p *plain) applied(ctx context.Context, revision int64) error { return p.apply(ctx, revision) }
func (p *plain) drained(ctx context.Context, revision int64) error { return p.apply(ctx, revision) }

// withdrawn brings the latest change into the configuration, which nobody has waited for.
func (p *plain) withdrawn(ctx context.Context) error {
	_, revision, err := p.etcd.instances(ctx)
	if err != nil {
		return err
	}
	return p.apply(ctx, revision)
}

func (p *plain) dropIn(ctx context.Context, content string) error {
	p.mu.Lock()
	p.balancer.DropIns = []templates.Fragment{{Path: "test", Content: content}}
	p.done = 0
	p.mu.Unlock()
	return p.apply(ctx, 1)
}

func (p *plain) reloads() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told, nil
}

// apply returns when what etcd has held at a revision is in the configuration, and the
// server has been told.
func (p *plain) apply(ctx context.Context, revision int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done > 0 && p.done >= revision {
		return nil
	}
	read, err := p.read(ctx)
	if err != nil {
		return err
	}
	out, err := p.template.Render(p.balancer)
	if err != nil {
		return err
	}
	p.done = read
	content := bytes.ReplaceAll(out.Content, []byte("option idle-close-on-response"), nil)
	if bytes.Equal(content, p.last) {
		return nil
	}
	p.last = content
	return p.load(ctx, content)
}

// read makes the balancer from what etcd holds.
func (p *plain) read(ctx context.Context) (revision int64, err error) {
	instances, revision, err := p.etcd.instances(ctx)
	if err != nil {
		return 0, err
	}
	b := &p.balancer
	b.Upstreams, b.Hosts = nil, nil
	for _, i := range instances {
		last := len(b.Upstreams) - 1
		if last < 0 || b.Upstreams[last].Name != i.Service {
			b.Upstreams = append(b.Upstreams, templates.Upstream{Name: i.Service})
			b.Hosts = append(b.Hosts, templates.VirtualHost{Name: i.Service, Routes: []templates.Route{{Upstream: i.Service}}})
			last++
		}
		u := &b.Upstreams[last]
		u.Servers = append(slices.Clip(u.Servers), templates.Server{
			Name: i.Name, Host: i.Host, Port: i.Port, Address: net.JoinHostPort(i.Host, strconv.Itoa(int(i.Port))), Weight: i.Weight,
		})
	}
	if b.Proxy != "haproxy" {
		return revision, nil
	}
	content, err := templates.HostMap(*b)
	if err != nil {
		return 0, err
	}
	b.HostMap = filepath.Join(p.dir, fmt.Sprintf("%.6x.map", sha256.Sum256(content)))
	return revision, os.WriteFile(b.HostMap, content, 0o644)
}

// load checks a configuration, puts it in place, and tells the server if it runs.
func (p *plain) load(ctx context.Context, content []byte) error {
	staged := filepath.Join(p.dir, "staged")
	if err := os.WriteFile(staged, content, 0o644); err != nil {
		return err
	}
	argv := append(slices.Clip(p.how.check), staged)
	if said, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("check: %w: %s", err, said)
	}
	err := os.Rename(staged, p.config())
	if p.server == nil {
		return err
	}
	// HAProxy does not hear a signal while it obeys the last one. No request is spared by this
	// wait: what it is that ends after the last reload does not wait for it.
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = poll(bounded, "the last reload has begun", func() error {
		if p.told == 0 || slices.ContainsFunc(p.children(), func(pid string) bool { return !slices.Contains(p.old, pid) }) {
			return nil
		}
		return errors.New("no new worker")
	})
	p.told++
	p.old = p.children()
	return errors.Join(err, p.server.cmd.Process.Signal(p.how.reload))
}

// children are the server's processes besides the first.
func (p *plain) children() []string {
	pid := p.server.cmd.Process.Pid
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid)) // it has ended: none
	return strings.Fields(string(list))
}

func listens(address string) error {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	return conn.Close()
}
