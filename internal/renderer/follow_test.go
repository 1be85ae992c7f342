package renderer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
	"rollcall/internal/reload"
)

// A liveServer takes members while it runs.
type liveServer struct {
	applier
	mu      sync.Mutex
	calls   []string
	fail    error         // of Sync
	refuse  error         // of Place
	checked chan struct{} // what Place waits for; nil for nothing
	leaving []*reload.Leaver
}

func (s *liveServer) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// took gives the calls since the last look.
func (s *liveServer) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func (s *liveServer) Apply(ctx context.Context, c reload.Candidate) (reload.Outcome, error) {
	s.note("apply " + addresses(c.Members))
	return s.applier.Apply(ctx, c)
}

func (s *liveServer) Sync(_ context.Context, m *reload.Members) (reload.Outcome, error) {
	s.note("sync " + addresses(m))
	s.mu.Lock()
	defer s.mu.Unlock()
	return reload.Outcome{Members: 1, Old: gone(), Leaving: s.leaving}, s.fail
}

func (s *liveServer) Place(_ context.Context, c reload.Candidate) (reload.Outcome, error) {
	s.mu.Lock()
	checked := s.checked
	s.mu.Unlock()
	if checked != nil {
		<-checked
	}
	s.note("place " + addresses(c.Members))
	return reload.Outcome{Changed: true}, s.refuse
}

func addresses(m *reload.Members) string {
	var list []string
	for _, p := range m.Pools {
		for _, i := range p.Members {
			list = append(list, fmt.Sprintf("%s/%s", p.Name, i.Name))
		}
	}
	return strings.Join(list, " ")
}

const liveText = `# {{.Generation}} {{.Structure}}
{{range .Upstreams}}{{.Name}}:{{members}}{{range .Servers}} {{.Address}}{{end}}{{endMembers}}
{{end}}`

// living runs body with such a server, which has a/1 and b/1 in service.
func living(t *testing.T, body func(t *testing.T, g *rig, s *liveServer)) {
	t.Helper()
	s := &liveServer{}
	running(t, func(t *testing.T, g *rig) {
		g.offer(catalog(1, one("a/1"), one("b/1")))
		after(0)
		if got := s.took(); !slices.Equal(got, []string{"apply a/1 b/1"}) {
			t.Fatalf("at first: %q", got)
		}
		after(time.Minute)
		s.took()
		body(t, g, s)
	}, func(cfg *Config) {
		s.applier = cfg.Applier.(applier)
		cfg.Applier = s
		cfg.Balancer.Members, cfg.Ahead = "lua", true
		cfg.Inputs = files{func() (*inputs.Set, error) { return template(liveText) }, cfg.Inputs.(files).changed}
	})
}

func one(id string) *discovery.Instance {
	var port uint16
	for _, r := range id {
		port = port*31 + uint16(r)
	}
	return member(id, "10.0.0.1", 1024+port%60000)
}

func wantCalls(t *testing.T, s *liveServer, want ...string) {
	t.Helper()
	if got := s.took(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestMembersGoAheadOfTheFiles(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		checked := make(chan struct{})
		s.checked = checked
		g.offer(catalog(2, one("a/1"), one("a/2"), one("b/1")))
		after(0)
		wantCalls(t, s, "sync a/1 a/2 b/1")
		if a := g.ack(); a.Applied != 2 || a.Drained != 2 {
			t.Errorf("acknowledged %+v while the file is checked", a)
		}
		after(time.Second)
		g.offer(catalog(3, one("a/2"), one("b/1")))
		after(0)
		wantCalls(t, s, "sync a/2 b/1")
		close(checked)
		s.mu.Lock()
		s.checked = nil
		s.mu.Unlock()
		after(2 * time.Second)
		wantCalls(t, s, "place a/1 a/2 b/1", "place a/2 b/1")
		if a, st := g.ack(), g.Status(); a.Applied != 3 || a.Generation != st.Desired.Generation || st.Reloads != 1 {
			t.Errorf("acknowledged %+v, status %+v", a, st)
		}
	})
}

func TestStructureIsForAReload(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		g.offer(catalog(2, one("a/1"), one("b/1"), one("c/1")))
		after(0)
		wantCalls(t, s, "apply a/1 b/1 c/1")
	})
}

func TestWhatTheServerDoesNotTakeIsApplied(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		s.fail = reload.ErrNeedsReload
		g.offer(catalog(2, one("a/1"), one("a/2"), one("b/1")))
		after(0)
		wantCalls(t, s, "sync a/1 a/2 b/1", "apply a/1 a/2 b/1")
		s.fail = errors.New("connection refused")
		after(time.Second)
		g.offer(catalog(3, one("a/1"), one("b/1")))
		after(0)
		wantCalls(t, s, "sync a/1 b/1", "apply a/1 b/1")
		if n := g.logged("members could not be changed while the server runs"); n != 1 {
			t.Errorf("said %d times", n)
		}
		if a := g.ack(); a.Applied != 3 {
			t.Errorf("acknowledged %+v", a)
		}
	})
}

// TestFilesThatCannotFollow are served as a whole, with all that is tried then.
func TestFilesThatCannotFollow(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		s.refuse = errors.New("no space left on device")
		g.offer(catalog(2, one("a/1"), one("a/2"), one("b/1")))
		after(0)
		wantCalls(t, s, "sync a/1 a/2 b/1", "place a/1 a/2 b/1", "apply a/1 a/2 b/1")
	})
}

// TestStormOfMembers: each goes to the server within min-wait, files follow by the second.
func TestStormOfMembers(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		const changes = 2000
		for n := range changes {
			g.offer(catalog(int64(2+n), one("a/1"), one(fmt.Sprintf("b/%d", n))))
			after(time.Millisecond)
		}
		after(2 * time.Second)
		calls := s.took()
		count := func(prefix string) (n int) {
			for _, c := range calls {
				if strings.HasPrefix(c, prefix) {
					n++
				}
			}
			return n
		}
		if n := count("sync"); n < changes/25 || n > changes/15 {
			t.Errorf("%d syncs", n)
		}
		if n := count("place"); n > 10 {
			t.Errorf("%d times files were written", n)
		}
		if n := count("apply"); n != 0 {
			t.Errorf("%d applied", n)
		}
		last := fmt.Sprintf("place a/1 b/%d", changes-1)
		if calls[len(calls)-1] != last {
			t.Errorf("last %q, want %q", calls[len(calls)-1], last)
		}
	})
}

// TestBusyMembers: what a member still runs holds back what is drained, and names it.
func TestBusyMembers(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		l, end := reload.NewLeaver("a", "1", "10.0.0.1:1")
		s.leaving = []*reload.Leaver{l}
		g.offer(catalog(2, one("a/2"), one("b/1")))
		after(0)
		a := g.ack()
		if a.Applied != 2 || a.Finished != 2 || a.Drained != 1 || !slices.Equal(a.Busy, []string{"a/1"}) {
			t.Errorf("acknowledged %+v", a)
		}
		after(time.Second)
		g.offer(catalog(3, one("a/2")))
		after(0)
		if a = g.ack(); a.Applied != 3 || a.Drained != 1 || a.Gone("a/1", 2) || !a.Gone("b/1", 3) {
			t.Errorf("another withdrawal: acknowledged %+v", a)
		}
		end()
		after(0)
		if a = g.ack(); a.Drained != 3 || len(a.Busy) > 0 {
			t.Errorf("in the end: acknowledged %+v", a)
		}
	})
}

// Of which instance a request of an earlier run is, nobody knows: it may be any of the service.
func TestBusyMembersOfAnEarlierRun(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		l, end := reload.NewLeaver("a", "10.0.0.9:1", "10.0.0.9:1")
		s.leaving = []*reload.Leaver{l}
		g.offer(catalog(2, one("b/1")))
		after(0)
		a := g.ack()
		if a.Finished != 2 || a.Gone("a/1", 2) || a.Gone("a", 2) || !a.Gone("b/2", 2) {
			t.Errorf("acknowledged %+v", a)
		}
		if got := g.Status().Leaving; !slices.Equal(got, []string{"a/10.0.0.9:1"}) {
			t.Errorf("shown as leaving: %q", got)
		}
		end()
		after(0)
		if a = g.ack(); !a.Gone("a/1", 2) {
			t.Errorf("in the end: acknowledged %+v", a)
		}
	})
}

// TestFilesThatCannotFollowAreNoHindrance: members go on, and what is wrong stays told until it is right.
func TestFilesThatCannotFollowAreNoHindrance(t *testing.T) {
	living(t, func(t *testing.T, g *rig, s *liveServer) {
		full := errors.New("no space left on device")
		s.refuse = full
		g.set(func(g *rig) { g.fail = full })
		for n := range 5 {
			g.offer(catalog(int64(2+n), one("a/1"), one(fmt.Sprintf("b/%d", 2+n))))
			after(3 * time.Second)
			st, a := g.Status(), g.ack()
			if a.Applied != int64(2+n) || a.Healthy || !st.Unwritten || !strings.Contains(st.Error, full.Error()) {
				t.Errorf("acknowledged %+v, status %+v", a, st)
			}
		}
		if n := g.logged("its files cannot follow"); n != 1 {
			t.Errorf("said %d times", n)
		}
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		g.set(func(g *rig) { g.fail = nil })
		after(20 * time.Second)
		if st, a := g.Status(), g.ack(); st.Error != "" || st.Unwritten || !a.Healthy || g.Ready() != nil {
			t.Errorf("in the end: acknowledged %+v, status %+v", a, st)
		}
	})
}
