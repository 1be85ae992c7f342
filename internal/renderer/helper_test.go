package renderer

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// logs is a logger, and how many lines hold a text.
func logs() (*slog.Logger, func(text string) int) {
	var b lockedBuffer
	return slog.New(slog.NewTextHandler(&b, nil)), func(text string) int { return strings.Count(b.String(), text) }
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// member makes an instance of "service/name" at an endpoint.
func member(id, host string, port uint16, change ...func(*discovery.Instance)) *discovery.Instance {
	service, name, _ := strings.Cut(id, "/")
	i := &discovery.Instance{Service: service, Name: name, Host: host, Port: port, Proto: "tcp", Weight: 100}
	for _, c := range change {
		c(i)
	}
	return i
}

// catalog makes a catalog of instances that come sorted.
func catalog(revision int64, members ...*discovery.Instance) *discovery.Catalog {
	c := &discovery.Catalog{Revision: revision}
	for _, i := range members {
		if n := len(c.Services); n == 0 || c.Services[n-1].Name != i.Service {
			c.Services = append(c.Services, &discovery.Service{Name: i.Service})
		}
		s := c.Services[len(c.Services)-1]
		s.Instances = append(s.Instances, i)
	}
	return c
}

type source struct {
	run func(context.Context, func(*discovery.Catalog)) error
}

func (s source) Run(ctx context.Context, handle func(*discovery.Catalog)) error {
	return s.run(ctx, handle)
}

type applier struct {
	apply func(context.Context, reload.Candidate) (reload.Outcome, error)
	check func(context.Context, reload.Candidate) error
}

func (a applier) Check(ctx context.Context, c reload.Candidate) error { return a.check(ctx, c) }

func (a applier) Apply(ctx context.Context, c reload.Candidate) (reload.Outcome, error) {
	return a.apply(ctx, c)
}

func (a applier) Sync(context.Context, *reload.Members) (reload.Outcome, error) {
	return reload.Outcome{}, reload.ErrNeedsReload
}

func (a applier) Place(context.Context, reload.Candidate) (reload.Outcome, error) {
	return reload.Outcome{}, reload.ErrNeedsReload
}

type acknowledger struct {
	set func(discovery.Acknowledgement)
}

func (a acknowledger) Set(ack discovery.Acknowledgement) { a.set(ack) }

type workers struct {
	wait func(context.Context) error
	n    int
}

func (w workers) Len() int { return w.n }

func (w workers) Configurations() int { return w.n }

func (w workers) Wait(ctx context.Context) error { return w.wait(ctx) }

func gone() reload.Workers { return workers{wait: func(context.Context) error { return nil }} }

// files are the operator's, in memory.
type files struct {
	load    func() (*inputs.Set, error)
	changed chan struct{}
}

func (f files) Load() (*inputs.Set, error) { return f.load() }

func (f files) Changed() <-chan struct{} { return f.changed }

func (f files) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// template gives inputs with this template, named after itself, and nothing else.
func template(text string) (*inputs.Set, error) {
	t, err := templates.Parse("test.tmpl", text)
	return &inputs.Set{Templates: []*templates.Template{t}, ID: text}, err
}

// A rig runs a Renderer on fakes, in a synctest bubble.
type rig struct {
	*Renderer
	offer  func(*discovery.Catalog)
	logged func(string) int
	output string

	mu      sync.Mutex
	applied []reload.Candidate
	at      []time.Time
	acks    []discovery.Acknowledgement
	checked []reload.Candidate
	fail    error
	refuse  func(content string) error // what the server's own check says
	load    func() (*inputs.Set, error)
	touched chan struct{}
	old     reload.Workers
	lookup  Lookup
}

// apply does to the file what a transaction would.
func (g *rig) apply(_ context.Context, c reload.Candidate) (reload.Outcome, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied, g.at = append(g.applied, c), append(g.at, time.Now())
	if err := g.validate(c); err != nil {
		return reload.Outcome{}, err
	}
	if g.fail != nil {
		return reload.Outcome{}, g.fail
	}
	before, err := os.ReadFile(c.Files[0].Path)
	if err == nil && bytes.Equal(before, c.Files[0].Content) {
		return reload.Outcome{Old: g.old}, nil
	}
	if err := os.WriteFile(c.Files[0].Path, c.Files[0].Content, 0o600); err != nil {
		return reload.Outcome{}, err
	}
	return reload.Outcome{Changed: true, Reloaded: true, Took: time.Millisecond, Old: g.old}, nil
}

func (g *rig) check(_ context.Context, c reload.Candidate) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checked = append(g.checked, c)
	return g.validate(c)
}

func (g *rig) validate(c reload.Candidate) error {
	if g.refuse == nil {
		return nil
	}
	if err := g.refuse(string(c.Files[0].Content)); err != nil {
		return &reload.StepError{Step: reload.StepValidate, Err: err, Output: "[emerg] " + err.Error()}
	}
	return nil
}

// refusing is a server that does not like a text.
func refusing(text string) func(string) error {
	return func(content string) error {
		if strings.Contains(content, text) {
			return &reload.ServerError{Err: errors.New("exit status 1")}
		}
		return nil
	}
}

// edit is what an operator does to the files.
func (g *rig) edit(load func() (*inputs.Set, error)) {
	g.set(func(g *rig) { g.load = load })
	g.touched <- struct{}{}
	after(0)
}

func (g *rig) set(change func(*rig)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

func (g *rig) checks() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.checked)
}

// serving is what the renderer takes for served.
func (g *rig) serving() *rendering {
	g.Renderer.mu.Lock()
	defer g.Renderer.mu.Unlock()
	return g.good
}

func (g *rig) applies() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.applied)
}

func (g *rig) ack() discovery.Acknowledgement {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.acks) == 0 {
		return discovery.Acknowledgement{}
	}
	return g.acks[len(g.acks)-1]
}

func (g *rig) content() string {
	b, _ := os.ReadFile(g.output)
	return string(b)
}

const text = `# {{.Generation}} {{.Revision}}
{{range .Upstreams}}{{.Name}}:{{range .Servers}} {{.Address}}{{end}}
{{end}}`

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	g := &rig{output: filepath.Join(t.TempDir(), "out.conf"), old: gone(), touched: make(chan struct{})}
	g.load = func() (*inputs.Set, error) { return template(text) }
	logger, logged := logs()
	g.logged = logged
	cfg := Config{
		ID: "me", Node: "node", Prefix: "/services", Balancer: templates.Balancer{Proxy: "nginx"}, Outputs: []string{g.output}, AssetDir: "/assets",
		MinWait: 20 * time.Millisecond, MaxWait: time.Second,
		Source: source{func(ctx context.Context, _ func(*discovery.Catalog)) error {
			<-ctx.Done()
			return ctx.Err()
		}},
		Applier: applier{g.apply, g.check},
		Inputs: files{func() (*inputs.Set, error) {
			g.mu.Lock()
			load := g.load
			g.mu.Unlock()
			return load()
		}, g.touched},
		Acknowledger: acknowledger{func(a discovery.Acknowledgement) {
			g.set(func(g *rig) { g.acks = append(g.acks, a) })
		}},
		Lookup: func(ctx context.Context, network, host string) ([]netip.Addr, error) {
			g.mu.Lock()
			lookup := g.lookup
			g.mu.Unlock()
			if lookup == nil {
				return nil, errors.New("no such host")
			}
			return lookup(ctx, network, host)
		},
		Logger: logger, Registerer: prometheus.NewRegistry(),
	}
	for _, c := range change {
		c(&cfg)
	}
	g.Renderer = New(cfg)
	g.offer = g.Renderer.offer
	return g
}

// running runs body in a bubble while the renderer works.
func running(t *testing.T, body func(t *testing.T, g *rig), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, change...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		synctest.Wait()
		body(t, g)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run gives %v, want context.Canceled", err)
		}
	})
}

// after lets time go by in a bubble.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
