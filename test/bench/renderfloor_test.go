package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/templates"
)

// floorPrefix is where the records are that render does not read.
const floorPrefix = "/floor/"

// A renderHand does itself what no renderer can do without, and nothing else. That makes
// the floor: it hears of the change, renders the same configuration, writes it to disk,
// has nginx check it, puts it in place, and has nginx of its own read it.
type renderHand struct {
	tb       testing.TB
	store    *store
	catalog  catalog
	nginx    nginx
	server   *process
	events   <-chan sighting
	template *templates.Template
	balancer templates.Balancer
}

func newRenderHand(tb testing.TB, s *store, n catalog) *renderHand {
	tb.Helper()
	h := &renderHand{tb: tb, store: s, catalog: n, nginx: newNginx(tb), events: s.follow(floorPrefix)}
	var err error
	if h.template, err = templates.Builtin("nginx"); err != nil {
		tb.Fatal(err)
	}
	user, group := workers()
	h.balancer = templates.Balancer{
		Proxy: "nginx", Standalone: true, Settings: templates.DefaultSettings(), Listen: []string{h.nginx.listen},
		Control: h.nginx.control(), User: user, Group: group, PidFile: h.nginx.pidFile(), ErrorLog: "stderr", RunDir: h.nginx.dir,
	}
	for i := range int(n) {
		service, name := n.instance(i)
		if i%members == 0 {
			h.balancer.Upstreams = append(h.balancer.Upstreams, templates.Upstream{Name: service})
			h.balancer.Hosts = append(h.balancer.Hosts, templates.VirtualHost{Name: service, Routes: []templates.Route{{Upstream: service}}})
		}
		h.set(i, service, name, n.record(i, firstPort))
	}
	generation := h.write(h.render())
	h.server = launch(tb, nil, "nginx", "-c", h.nginx.config(), "-g", "daemon off;")
	tb.Cleanup(h.server.stop)
	h.nginx.served(tb, generation, nil)
	return h
}

// set takes a record into the balancer.
func (h *renderHand) set(i int, service, name, value string) {
	h.tb.Helper()
	in, err := discovery.DecodeRecord(service, name, []byte(value))
	if err != nil {
		h.tb.Fatal(err)
	}
	u := &h.balancer.Upstreams[i/members]
	server := templates.Server{
		Name: in.Name, Host: in.Host, Port: in.Port, Address: fmt.Sprintf("%s:%d", in.Host, in.Port), Weight: in.Weight, Version: in.Version, Node: in.Node,
	}
	if i%members == len(u.Servers) {
		u.Servers = append(u.Servers, server)
	} else {
		u.Servers = slices.Clone(u.Servers) // the template compares with those that it has seen
		u.Servers[i%members] = server
	}
}

func (h *renderHand) render() templates.Output {
	h.tb.Helper()
	out, err := h.template.Render(h.balancer)
	if err != nil {
		h.tb.Fatal(err)
	}
	return out
}

// change changes a record and follows it, as far as the file and as far as the server.
func (h *renderHand) change(i int, port uint16) (file, serving time.Duration) {
	h.tb.Helper()
	service, name := h.catalog.instance(i)
	old, _, err := h.nginx.processes()
	if err != nil {
		h.tb.Fatal(err)
	}
	began := time.Now()
	go h.store.put(floorPrefix+service+"/"+name, h.catalog.record(i, port))
	var seen sighting
	select {
	case seen = <-h.events:
	case <-time.After(patience):
		h.tb.Fatal("the change was not seen")
	}
	h.set(i, service, name, string(seen.value))
	h.balancer.Revision = seen.revision
	generation := h.write(h.render())
	file = time.Since(began)
	h.server.signal(syscall.SIGHUP)
	h.nginx.served(h.tb, generation, old)
	return file, time.Since(began)
}

// write has a configuration checked and puts it on disk.
func (h *renderHand) write(out templates.Output) (generation string) {
	h.tb.Helper()
	staged := filepath.Join(h.nginx.dir, ".staged")
	err := writeSynced(staged, out.Content)
	if err == nil {
		var said []byte
		if said, err = exec.Command("nginx", "-t", "-q", "-c", staged).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	if err = errors.Join(err, os.Rename(staged, h.nginx.config())); err == nil {
		err = syncDirectory(h.nginx.dir)
	}
	if err != nil {
		h.tb.Fatal(err)
	}
	return out.Generation
}

func writeSynced(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
