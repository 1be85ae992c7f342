package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// A play lets the instances of service "web", and of others written "api/a", come and go
// before a guard.
type play struct {
	t        *testing.T
	guard    *Guard
	a        *Assembler
	began    time.Time
	now      time.Time
	revision int64
	suspects map[string]*Instance // the last of each name
	verdict  Verdict
}

const playHold = 5 * time.Minute

func newPlay(t *testing.T, maxLoss float64, instances string) *play {
	t.Helper()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &play{t: t, guard: NewGuard("/services", maxLoss, playHold), a: NewAssembler("/services"), began: began, now: began, suspects: map[string]*Instance{}}
	for _, name := range strings.Fields(instances) {
		p.put(name, 7)
	}
	p.observe()
	return p
}

func playKey(name string) string {
	if !strings.Contains(name, "/") {
		name = "web/" + name
	}
	return "/services/" + name
}

func (p *play) put(name string, lease int64) {
	p.revision++
	p.a.Put(playKey(name), []byte("10.0.0.5:80"), p.revision, lease)
}

func (p *play) observe() {
	for _, i := range p.guard.Observe(p.a.Catalog(p.revision), p.now) {
		p.suspects[i.ID()] = i
	}
	p.verdict = p.guard.Judge(p.now)
}

// do plays what happens at once: "-a" vanishes, "+a" is put, "=a" is put without a
// lease, "#a" is put with a value that is refused; then "!a" has lost its lease, "~a"
// was deleted; then "xa" is ordered to go.
func (p *play) do(happenings string) {
	p.t.Helper()
	excused := map[string]bool{}
	var lost, deleted []*Instance
	for _, h := range strings.Fields(happenings) {
		name := h[1:]
		switch h[0] {
		case '-':
			p.revision++
			p.a.Delete(playKey(name))
		case '+':
			p.put(name, 7)
		case '=':
			p.put(name, 0)
		case '#':
			p.revision++
			p.a.Put(playKey(name), []byte("nonsense"), p.revision, 7)
		}
	}
	p.observe()
	for _, h := range strings.Fields(happenings) {
		id := strings.TrimPrefix(playKey(h[1:]), "/services/")
		switch h[0] {
		case '!':
			lost = append(lost, p.suspects[id])
		case '~':
			deleted = append(deleted, p.suspects[id])
		case 'x':
			excused[id] = true
		}
	}
	p.guard.Confirm(lost)
	p.guard.Acquit(deleted)
	if len(excused) > 0 {
		p.guard.Excuse(excused)
	}
	p.verdict = p.guard.Judge(p.now)
}

// shown gives the catalog as "a b* api/c": held ones with a star, and a question mark at
// the end while something is open.
func (p *play) shown() string {
	var names []string
	for _, s := range p.verdict.Catalog.Services {
		for _, i := range s.Instances {
			name := strings.TrimPrefix(i.ID(), "web/")
			if i.Held {
				name += "*"
			}
			names = append(names, name)
		}
	}
	if p.verdict.Open {
		names = append(names, "?")
	}
	return strings.Join(names, " ")
}

func TestGuard(t *testing.T) {
	type step struct {
		at   int // seconds
		do   string
		want string
	}
	tests := []struct {
		name    string
		maxLoss float64 // 0 stands for 0.5
		begin   string
		steps   []step
	}{
		{"half may go", 0, "a b c d", []step{{0, "-a -b !a !b", "c d"}}},
		{"more may not", 0, "a b c d", []step{{0, "-a -b -c !a !b !c", "a* b* c* d"}}},
		{"all may not", 0, "a b", []step{{0, "-a -b !a !b", "a* b*"}}},
		{"the only one may not", 0, "a", []step{{0, "-a !a", "a*"}}},
		{"each service for itself", 0, "a b api/a api/b", []step{{0, "-a -b !a !b -api/a !api/a", "api/b a* b*"}}},
		{"the first is brought back by those that follow", 0, "a b c d", []step{
			{0, "-a !a", "b c d"}, {10, "-b !b", "c d"}, {29, "-c !c", "a* b* c* d"},
		}},
		{"one that went long before is not", 0, "a b c d", []step{
			{0, "-a !a", "b c d"}, {30, "-b !b", "c d"}, {59, "-c !c", "b* c* d"},
		}},
		{"deleted is gone", 0, "a b", []step{{0, "-a -b ~a ~b", ""}}},
		{"deleted does not count", 0, "a b c d", []step{{0, "-a -b -c !a !b ~c", "a* b* d"}}},
		{"while it is not known, it counts as lost", 0, "a b c d", []step{{0, "-a -b -c", "a* b* c* d ?"}, {1, "~a ~b ~c", "d"}}},
		{"where nothing is in danger nobody waits", 0, "a b c d", []step{{0, "-a -b", "c d"}, {1, "~a ~b", "c d"}}},
		{"a deletion that is asked about brings nothing back", 0, "a b c d", []step{{0, "-a -b !a !b", "c d"}, {1, "-c", "c* d ?"}, {1, "~c", "d"}}},
		{"… unless it was none", 0, "a b c d", []step{{0, "-a -b !a !b", "c d"}, {1, "-c", "c* d ?"}, {1, "!c", "a* b* c* d"}}},
		{"answers that come one by one", 0, "a b c d", []step{{0, "-a -b -c -d", "a* b* c* d* ?"}, {0, "!b", "a* b* c* d* ?"}, {1, "!a ~c", "a* b* d* ?"}, {1, "!d", "a* b* d*"}}},
		{"lost beside one that was deleted", 0, "a b", []step{{0, "-a -b !a", "a* b* ?"}, {0, "~b", "a*"}}},
		{"an answer that comes late", 0, "a", []step{{0, "-a !a", "a*"}, {9, "~a", ""}}},
		{"without a lease it is gone", 0, "b", []step{{0, "=a", "a b"}, {1, "-a", "b"}, {2, "=b", "b"}, {3, "-b", ""}}},
		{"one that returns, and those that do not", 0, "a b c", []step{{0, "-a -b -c !a !b !c", "a* b* c*"}, {20, "+b", "a* b c*"}, {299, "", "a* b c*"}, {300, "", "b"}}},
		{"one that returns with another value", 0, "a", []step{{0, "-a !a", "a*"}, {1, "#a", ""}, {2, "-a", ""}}},
		{"one that returns and is deleted", 0, "a b", []step{{0, "-a -b !a !b", "a* b*"}, {1, "+a", "a b*"}, {2, "-a ~a", "b*"}}},
		{"one that returns and is lost again is held from then on", 0, "a", []step{{0, "-a !a", "a*"}, {200, "+a", "a"}, {200, "-a !a", "a*"}, {499, "", "a*"}, {500, "", ""}}},
		{"held while others are lost one by one", 0, "a b c", []step{
			{0, "-a -b !a !b", "a* b* c"}, {100, "-c !c", "a* b* c*"}, {300, "", "c*"}, {400, "", ""},
		}},
		{"an order to go", 0, "a b", []step{{0, "-a -b !a !b", "a* b*"}, {1, "xa", "b*"}, {2, "xb", ""}}},
		{"an order that was there before", 0, "a b", []step{{0, "xa", "a b"}, {1, "-a -b !a !b", "b*"}}},
		{"a share of nothing", -1, "a b c d", []step{{0, "-a !a", "a* b c d"}}},
		{"a share of all", 1, "a", []step{{0, "-a", ""}}},
		{"a share that no float is", 0.29, numbered(100), []step{{0, vanish(29), strings.Join(strings.Fields(numbered(100))[29:], " ")}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			switch tt.maxLoss {
			case 0:
				tt.maxLoss = 0.5
			case -1:
				tt.maxLoss = 0
			}
			p := newPlay(t, tt.maxLoss, tt.begin)
			for _, s := range tt.steps {
				p.now = p.began.Add(time.Duration(s.at) * time.Second)
				p.do(s.do)
				if got := p.shown(); got != s.want {
					t.Fatalf("after %q at %d s: got %q, want %q", s.do, s.at, got, s.want)
				}
			}
		})
	}
}

// numbered gives n names, and vanish has the first n of them lose their leases.
func numbered(n int) string {
	s := ""
	for i := range n {
		s += fmt.Sprintf("i%03d ", i)
	}
	return s
}

func vanish(n int) string {
	s := ""
	for i := range n {
		s += fmt.Sprintf("-i%03d !i%03d ", i, i)
	}
	return s
}

// TestGuardAfterAListing: what is missing from a listing that starts afresh counts like
// what vanished, and what is in it does not.
func TestGuardAfterAListing(t *testing.T) {
	p := newPlay(t, 0.5, "a b c api/a")
	p.a = NewAssembler("/services")
	p.put("c", 8)
	p.put("api/a", 8)
	p.observe()
	if got, want := p.shown(), "api/a a* b* c ?"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := p.suspects["web/c"]; ok || len(p.suspects) != 2 {
		t.Errorf("asked about %v", slices.Sorted(maps.Keys(p.suspects)))
	}
}

// TestGuardShares: what did not change is the very same, for readers that compare pointers.
func TestGuardShares(t *testing.T) {
	p := newPlay(t, 0.5, "a b api/a api/b")
	if p.verdict.Catalog != p.guard.live {
		t.Error("with nothing held the catalog is not that of etcd")
	}
	p.do("-a -b !a !b")
	before := p.verdict.Catalog
	if again := p.guard.Judge(p.now.Add(time.Minute)).Catalog; again != before {
		t.Error("nothing changed, and the catalog is another one")
	}
	p.do("+api/c")
	if web, _ := before.Service("web"); web != p.verdict.Catalog.Services[1] {
		t.Error("a service that is held is not shared though nothing changed in it")
	}
	if got := p.verdict.Held; len(got) != 1 || got["web"] != 2 {
		t.Errorf("Held = %v", got)
	}
	if want := p.began.Add(playHold); !p.verdict.Next.Equal(want) {
		t.Errorf("Next = %s, want %s", p.verdict.Next, want)
	}
}

// TestGuardMourns: as long as a loss may yet bring back what went before it, that is named.
func TestGuardMourns(t *testing.T) {
	type step struct {
		at       int // seconds
		do, want string
	}
	for name, steps := range map[string][]step{
		"a loss":                         {{0, "-a !a", "web/a"}, {29, "", "web/a"}, {30, "", ""}},
		"of which it is not known":       {{0, "-a", "web/a"}, {1, "!a", "web/a"}, {30, "", ""}},
		"that was none":                  {{0, "-a", "web/a"}, {1, "~a", ""}},
		"brought back":                   {{0, "-a !a", "web/a"}, {9, "-b !b -c !c", ""}, {31, "", ""}},
		"that returns":                   {{0, "-a !a", "web/a"}, {9, "+a", ""}},
		"that was ordered to go":         {{0, "-a !a", "web/a"}, {1, "xa", ""}},
		"two of them, one after another": {{0, "-b !b", "web/b"}, {9, "-a !a", "web/a web/b"}, {30, "", "web/a"}, {39, "", ""}},
		"beside those that are held":     {{0, "-api/a !api/a", ""}, {1, "-a !a", "web/a"}, {300, "", ""}},
		"without a lease":                {{0, "=a", ""}, {1, "-a", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlay(t, 0.5, "a b c d api/a")
			for _, s := range steps {
				before := p.verdict.Catalog
				p.now = p.began.Add(time.Duration(s.at) * time.Second)
				p.do(s.do)
				c := p.verdict.Catalog
				if got := strings.Join(c.Mourned, " "); got != s.want {
					t.Fatalf("after %q at %d s: got %q, want %q", s.do, s.at, got, s.want)
				}
				if c == before && !slices.Equal(c.Mourned, before.Mourned) {
					t.Fatal("a catalog that was given out changed")
				}
			}
		})
	}
}
