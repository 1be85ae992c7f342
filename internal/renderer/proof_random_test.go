package renderer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
	"rollcall/internal/reload"
)

// A balancer keeps what each of its configurations says for as long as a worker has it.
type balancer struct {
	mu      sync.Mutex
	running string
	old     []generation
	bad     string // what the server's own check does not like
	broken  bool   // the reload fails

	structure string                    // that takes members while it runs; "" while none does
	leaving   map[*reload.Leaver]func() // and what ends them
	names     map[string][2]string      // of pool and member, by address
}

type generation struct {
	content string
	gone    chan struct{} // closed when its workers are
}

func (b *balancer) leave(content string) {
	b.old = append(b.old, generation{content, make(chan struct{})})
}

func (b *balancer) Check(_ context.Context, c reload.Candidate) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.check(c)
}

func (b *balancer) check(c reload.Candidate) error {
	if strings.Contains(string(c.Files[0].Content), b.bad) {
		return &reload.StepError{Step: reload.StepValidate, Err: &reload.ServerError{Err: errors.New("exit status 1")}}
	}
	return nil
}

func (b *balancer) Apply(_ context.Context, c reload.Candidate) (reload.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Members != nil && c.Members.Structure == b.structure {
		b.sync(c.Members)
		if err := b.check(c); err != nil {
			return reload.Outcome{}, err
		}
		return b.outcome(reload.Outcome{Changed: true}), nil
	}
	content := string(c.Files[0].Content)
	if content != b.running {
		if err := b.check(c); err != nil {
			return reload.Outcome{}, err
		}
		b.leave(b.running)
		b.structure = ""
		if b.broken { // and rolled back
			b.leave(content)
			return reload.Outcome{}, &reload.StepError{Step: reload.StepReload, Err: errors.New("no answer")}
		}
		b.running = content
	}
	if c.Members != nil {
		b.structure = c.Members.Structure
		b.know(c.Members)
	}
	return b.outcome(reload.Outcome{Changed: true, Reloaded: true}), nil
}

func (b *balancer) outcome(o reload.Outcome) reload.Outcome {
	left := slices.Clone(b.old)
	o.Old = workers{wait: func(ctx context.Context) error {
		for _, g := range left {
			if err := held(g.gone).Wait(ctx); err != nil {
				return err
			}
		}
		return nil
	}}
	o.Leaving = slices.Collect(maps.Keys(b.leaving))
	return o
}

func (b *balancer) Sync(_ context.Context, m *reload.Members) (reload.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Structure != b.structure {
		return reload.Outcome{}, reload.ErrNeedsReload
	}
	if b.broken {
		return reload.Outcome{}, errors.New("no answer")
	}
	b.sync(m)
	return b.outcome(reload.Outcome{Members: 1}), nil
}

// sync has requests go to these members only; what had begun goes on.
func (b *balancer) sync(m *reload.Members) {
	var now []string
	for _, p := range m.Pools {
		for _, i := range p.Members {
			now = append(now, i.Address)
		}
	}
	defer b.know(m)
	for _, address := range strings.Fields(b.running) {
		if strings.Contains(address, ":") && !slices.Contains(now, address) {
			l, end := reload.NewLeaver(b.names[address][0], b.names[address][1], address)
			b.leaving[l] = end
		}
	}
	for l, end := range b.leaving {
		if slices.Contains(now, l.Address) { // it is back
			end()
			delete(b.leaving, l)
		}
	}
	b.running = strings.Join(now, " ")
}

func (b *balancer) know(m *reload.Members) {
	for _, p := range m.Pools {
		for _, i := range p.Members {
			b.names[i.Address] = [2]string{p.Name, i.Name}
		}
	}
}

func (b *balancer) Place(_ context.Context, c reload.Candidate) (reload.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return reload.Outcome{Changed: true}, b.check(c)
}

// sends says whether a request to the address may begin, or be running still.
func (b *balancer) sends(address string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for l := range b.leaving {
		if l.Address == address {
			return true
		}
	}
	return strings.Contains(b.running, address) || slices.ContainsFunc(b.old, func(g generation) bool {
		return strings.Contains(g.content, address)
	})
}

// TestWhatIsDrainedIsSentNothing has records come, move, go and be lost, services be
// refused, reloads fail, and workers end, in any order: whatever an acknowledgement says
// is gone must be sent nothing. Half of the servers take members while they run.
func TestWhatIsDrainedIsSentNothing(t *testing.T) {
	proven := 0
	for seed := range uint64(240) {
		b := &balancer{bad: "none", leaving: map[*reload.Leaver]func(){}, names: map[string][2]string{}}
		live := seed%2 == 1
		running(t, func(t *testing.T, g *rig) {
			random := rand.New(rand.NewPCG(seed, 7))
			records := map[string]*discovery.Instance{}
			type end struct {
				id       string
				revision int64
			}
			ended := map[string]end{} // by address
			revision := int64(1)
			var story []string
			for range 150 {
				id := fmt.Sprintf("%c/%d", 'a'+random.IntN(3), random.IntN(3))
				is := records[id]
				does := "nothing"
				leave := func() { // the record, of which something may be held
					if revision++; is != nil && !is.Held {
						ended[is.Endpoint()] = end{id, revision}
					}
				}
				switch random.IntN(9) {
				case 0, 1:
					leave()
					does = "put"
					records[id] = member(id, "10.0.0.1", uint16(10000+revision), revised(revision))
				case 2:
					if is != nil && !is.Held {
						leave()
						does = "delete"
						delete(records, id)
					}
				case 3, 4:
					if is != nil && !is.Held {
						leave()
						does = "lose"
						lost := *is
						lost.Held = true
						records[id] = &lost
					}
				case 5:
					if is != nil && is.Held {
						does = "let go"
						delete(records, id)
					}
				case 6:
					b.mu.Lock()
					if b.bad = "none"; is != nil && random.IntN(3) > 0 {
						b.bad = is.Endpoint()
					}
					does, b.broken = "refuse "+b.bad, random.IntN(4) == 0
					b.mu.Unlock()
				default:
					b.mu.Lock()
					b.old = slices.DeleteFunc(b.old, func(g generation) bool {
						ends := random.IntN(3) == 0
						if ends {
							close(g.gone)
						}
						return ends
					})
					for l, end := range b.leaving {
						if random.IntN(3) == 0 {
							end()
							delete(b.leaving, l)
						}
					}
					b.mu.Unlock()
					does = "end workers"
				}
				story = append(story, fmt.Sprintf("%d %s %s", revision, does, id))
				var members []*discovery.Instance
				for _, id := range slices.Sorted(maps.Keys(records)) {
					members = append(members, records[id])
				}
				g.offer(catalog(revision, members...))
				for range random.IntN(3) {
					after(time.Duration(random.IntN(8000)) * time.Millisecond)
				}
				a := g.ack()
				for address, end := range ended {
					if !a.Gone(end.id, end.revision) {
						continue
					}
					if proven++; b.sends(address) {
						t.Fatalf("seed %d: %s ended at %d as %s, and requests to it may be running; acknowledged %+v\n%s",
							seed, end.id, end.revision, address, a, strings.Join(story, "\n"))
					}
				}
			}
		}, func(cfg *Config) {
			cfg.Applier = b
			if live {
				load := cfg.Inputs.(files)
				cfg.Balancer.Members, cfg.Ahead = "lua", true
				load.load = func() (*inputs.Set, error) {
					return template("{{.Structure}} {{.Generation}}\n{{range .Upstreams}}{{.Name}}{{members}}{{range .Servers}} {{.Address}}{{end}}{{endMembers}}\n{{end}}")
				}
				cfg.Inputs = load
			}
		})
	}
	if proven < 1000 {
		t.Errorf("%d ends were proven, want many", proven)
	}
}
