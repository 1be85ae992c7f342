package reload

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A fakeProxy is a server that does what its functions say, and by default all it is told.
type fakeProxy struct {
	calls    []string
	validate func(Staged) error
	reload   func() error
	running  func() (string, error)
	confirm  func(generation string) (Workers, error)
	holds    func(netip.AddrPort) bool
}

var _ Proxy = (*fakeProxy)(nil)

func (p *fakeProxy) Name() string { return "fake" }

func (p *fakeProxy) Validate(_ context.Context, s Staged) error {
	p.calls = append(p.calls, "validate "+s.Generation)
	if p.validate == nil {
		return nil
	}
	return p.validate(s)
}

func (p *fakeProxy) Reload(context.Context) error {
	p.calls = append(p.calls, "reload")
	if p.reload == nil {
		return nil
	}
	return p.reload()
}

func (p *fakeProxy) Running(context.Context) (Serving, error) {
	if p.running == nil {
		return Serving{}, ErrNotRunning
	}
	generation, err := p.running()
	return Serving{Generation: generation}, err
}

func (p *fakeProxy) Confirm(_ context.Context, generation string) (Workers, error) {
	p.calls = append(p.calls, "confirm "+generation)
	if p.confirm == nil {
		return finishing{}, nil
	}
	return p.confirm(generation)
}

func (p *fakeProxy) Holds(a netip.AddrPort) bool { return p.holds != nil && p.holds(a) }

func newFake(t *testing.T, p *fakeProxy) *Transaction {
	t.Helper()
	tx := New(Config{Proxy: p, Logger: discard(t)})
	t.Cleanup(func() { tx.Close() })
	return tx
}

// tree reads a directory: name → content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(e.Name(), ".lock") {
			got[e.Name()] = string(b)
		}
	}
	return got
}

var errFake = errors.New("no")
