package discovery

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestGuardThroughRandomHistories: whatever happens, what is in etcd is served as it
// is; of the rest only what was lost, not too long ago, and not deleted since.
func TestGuardThroughRandomHistories(t *testing.T) {
	type fate struct {
		at       time.Time
		sure     bool
		instance *Instance
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		p := newPlay(t, 0.5, "a b c d api/a api/b api/c")
		names := []string{"a", "b", "c", "d", "e", "api/a", "api/b", "api/c"}
		live := map[string]bool{"a": true, "b": true, "c": true, "d": true, "api/a": true, "api/b": true, "api/c": true}
		fates := map[string]*fate{} // of what vanished and was not deleted, as far as is known
		held := 0
		for range 300 {
			p.now = p.now.Add(time.Duration(r.IntN(20)) * time.Second)
			touched := map[string]bool{}
			for range 1 + r.IntN(4) {
				name := pick(r, names)
				switch {
				case touched[name]: // what comes and goes between two looks nobody sees
				case !live[name]:
					p.put(name, 7)
					live[name] = true
					delete(fates, name)
				default:
					p.revision++
					p.a.Delete(playKey(name))
					delete(live, name)
					fates[name] = &fate{at: p.now}
				}
				touched[name] = true
			}
			past := map[string]bool{} // who may be held from now on: is there, or mourned
			for _, s := range p.verdict.Catalog.Services {
				for _, i := range s.Instances {
					past[i.ID()] = true
				}
			}
			for _, id := range p.verdict.Catalog.Mourned {
				past[id] = true
			}
			before, copied := p.verdict.Catalog, copyCatalog(p.verdict.Catalog)
			clear(p.suspects)
			p.observe()
			for name, f := range fates {
				if i := p.suspects[strings.TrimPrefix(playKey(name), "/services/")]; i != nil && f.instance == nil {
					f.instance = i
				}
			}
			fresh := map[bool]bool{} // by "is of api"
			for name, f := range fates {
				switch {
				case f.sure || r.IntN(3) == 0:
				case r.IntN(3) == 0:
					p.guard.Acquit([]*Instance{f.instance})
					delete(fates, name)
				default:
					p.guard.Confirm([]*Instance{f.instance})
					f.sure = true
					fresh[strings.HasPrefix(name, "api/")] = true
				}
			}
			p.verdict = p.guard.Judge(p.now)
			if diff := diff(copied, before); diff != "" {
				t.Fatalf("seed %d: a catalog that was given out changed: %s", seed, diff)
			}

			shown := map[string]bool{}
			for _, name := range strings.Fields(strings.TrimSuffix(p.shown(), "?")) {
				name, star := strings.CutSuffix(name, "*")
				shown[name] = true
				switch f := fates[name]; {
				case live[name] && star, !live[name] && !star:
					t.Fatalf("seed %d: %s is live: %t, in %q", seed, name, live[name], p.shown())
				case star && (f == nil || p.now.Sub(f.at) >= playHold):
					t.Fatalf("seed %d: %s is held, of which is known: %+v", seed, name, f)
				case star && !past[strings.TrimPrefix(playKey(name), "/services/")]:
					t.Fatalf("seed %d: %s is held, and it was not said that it may be", seed, name)
				case star:
					held++
				}
			}
			for _, id := range p.verdict.Catalog.Mourned {
				name := strings.TrimPrefix(id, "web/")
				if fates[name] == nil || shown[name] || p.now.Sub(fates[name].at) >= lossWindow {
					t.Fatalf("seed %d: %s is mourned, of which is known: %+v, in %q", seed, name, fates[name], p.shown())
				}
			}
			for _, service := range []string{"", "api/"} {
				of := func(name string) bool { return strings.HasPrefix(name, "api/") == (service != "") }
				there, asked, lost := 0, false, []string{}
				for name := range live {
					if of(name) {
						there++
						if !shown[name] {
							t.Fatalf("seed %d: %s is live and not in %q", seed, name, p.shown())
						}
					}
				}
				for name, f := range fates {
					if of(name) && p.now.Sub(f.at) < lossWindow {
						lost = append(lost, name)
						asked = asked || !f.sure
					}
				}
				for _, name := range lost {
					if fresh[service != ""] && !asked && len(lost) > there && !shown[name] {
						t.Fatalf("seed %d: %d lost, %d there, and %s is not in %q", seed, len(lost), there, name, p.shown())
					}
				}
			}
		}
		if held == 0 {
			t.Errorf("seed %d: never anything held", seed)
		}
		for n := 0; !p.verdict.Next.IsZero(); n++ {
			if p.now = p.verdict.Next; n > 100 {
				t.Fatalf("seed %d: never at rest: %+v", seed, p.verdict)
			}
			p.verdict = p.guard.Judge(p.now)
		}
		if len(p.guard.services) != 0 || p.verdict.Catalog.Len() != len(live) {
			t.Errorf("seed %d: at rest %d services have losses, and %q is served", seed, len(p.guard.services), p.shown())
		}
	}
}
