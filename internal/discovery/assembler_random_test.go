package discovery

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A history plays puts and deletes to an assembler and keeps what etcd would hold.
type history struct {
	assembler *Assembler
	keys      map[string]leaf
	revision  int64
}

func newHistory() *history {
	return &history{assembler: NewAssembler("/services"), keys: map[string]leaf{}}
}

func (h *history) put(key, value string, lease int64) {
	h.revision++
	h.keys[key] = leaf{value, h.revision, lease}
	h.assembler.Put(key, []byte(value), h.revision, lease)
}

func (h *history) delete(key string) {
	h.revision++
	delete(h.keys, key)
	h.assembler.Delete(key)
}

// check compares the next catalog with one made of nothing but the keys that are there now.
func (h *history) check(t *testing.T) *Catalog {
	t.Helper()
	scratch := NewAssembler("/services")
	for key, v := range h.keys {
		scratch.Put(key, []byte(v.value), v.revision, v.lease)
	}
	want, got := scratch.Catalog(h.revision), h.assembler.Catalog(h.revision)
	if diff := diff(want, got); diff != "" {
		t.Fatalf("revision %d: -from scratch +incremental:\n%s", h.revision, diff)
	}
	if !slices.IsSortedFunc(got.Refused, func(x, y Refusal) int { return compareStrings(x.Key, y.Key) }) {
		t.Fatalf("revision %d: refusals are not sorted: %v", h.revision, got.Refused)
	}
	if !slices.IsSortedFunc(got.Services, func(x, y *Service) int { return compareStrings(x.Name, y.Name) }) {
		t.Fatalf("revision %d: services are not sorted", h.revision)
	}
	for _, s := range got.Services {
		if len(s.Instances) == 0 || !slices.IsSortedFunc(s.Instances, func(x, y *Instance) int { return compareStrings(x.Name, y.Name) }) {
			t.Fatalf("revision %d: instances of %s are none, or not sorted", h.revision, s.Name)
		}
	}
	return got
}

// diff is cmp.Diff, which would take most of the time of these tests, where there is one.
func diff(want, got *Catalog) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// compareStrings wants two neighbours to differ: a name twice counts as out of order.
func compareStrings(x, y string) int {
	if x < y {
		return -1
	}
	return 1
}

var (
	randomServices = []string{"a", "web", "web.v2", "Bad"}
	randomNames    = []string{"1", "2", "10", "a", "core-01:a:80", "bad name"}
	randomFields   = []string{"", "", "", "", "/host", "/host", "/port", "/port", "/weight", "/unit", "/x/y", "/"}
	randomValues   = []string{
		"10.0.0.5:80", "10.0.0.6:80", "[2001:db8::5]:80", `{"host":"10.0.0.5","port":80,"weight":0}`, `{"host":"a","port":"81","x":1}`, "http://a:82",
		"80", "81", "0", "10.0.0.7", "core-01", "", "{",
	}
)

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func randomKey(r *rand.Rand) string {
	key := "/services/" + pick(r, randomServices) + "/" + pick(r, randomNames) + pick(r, randomFields)
	if r.IntN(50) == 0 {
		key = pick(r, []string{"/services/web", "/services2/web/a", "/services/", "x"})
	}
	return key
}

// TestAssemblerIncremental: after any history, the catalog is the one that the
// keys now in etcd amount to; and no catalog given out before has changed.
func TestAssemblerIncremental(t *testing.T) {
	for seed := range int64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 0))
			h := newHistory()
			type picture struct{ given, copied *Catalog }
			var pictures []picture
			most := 0
			for range 200 {
				for range r.IntN(8) {
					switch keys := slices.Sorted(maps.Keys(h.keys)); {
					case len(keys) > 0 && r.IntN(5) == 0:
						h.delete(pick(r, keys))
					case r.IntN(20) == 0:
						h.delete(randomKey(r)) // perhaps never there
					default:
						h.put(randomKey(r), pick(r, randomValues), r.Int64N(3))
					}
				}
				c := h.check(t)
				most = max(most, c.Len())
				pictures = append(pictures, picture{c, copyCatalog(c)})
			}
			if most < 5 {
				t.Errorf("the history is too poor to prove anything: never more than %d instances", most)
			}
			for _, p := range pictures {
				if diff := diff(p.copied, p.given); diff != "" {
					t.Fatalf("the catalog of revision %d changed later: -then +now:\n%s", p.copied.Revision, diff)
				}
			}
			for _, key := range slices.Sorted(maps.Keys(h.keys)) {
				h.delete(key)
			}
			h.check(t)
			checkEmpty(t, h.assembler)
		})
	}
}

// copyCatalog copies a catalog so deeply that nothing is shared with it.
func copyCatalog(c *Catalog) *Catalog {
	d := &Catalog{Revision: c.Revision, Refused: slices.Clone(c.Refused), Mourned: slices.Clone(c.Mourned), Services: slices.Clone(c.Services)}
	for n, s := range c.Services {
		d.Services[n] = &Service{Name: s.Name, Instances: slices.Clone(s.Instances)}
		for k, i := range s.Instances {
			d.Services[n].Instances[k] = i.clone()
		}
	}
	return d
}

// TestAssemblerForgets: an assembler that lives for months among names that come
// and go holds no more than there is.
func TestAssemblerForgets(t *testing.T) {
	h := newHistory()
	for n := range 2000 {
		id := fmt.Sprintf("/services/s%d/i%d", n%7, n)
		keys := []string{id, id + "/host", id + "/port", id + "/x/y", fmt.Sprint("/services/", n)}
		for _, key := range keys {
			h.put(key, pick(rand.New(rand.NewPCG(uint64(n), 1)), randomValues), 0)
		}
		if n%3 == 0 {
			h.check(t)
		}
		for _, key := range keys {
			h.delete(key)
			h.delete(key + "-never-there")
		}
		if n%5 == 0 {
			h.check(t)
		}
	}
	h.check(t)
	checkEmpty(t, h.assembler)
}

func checkEmpty(t *testing.T, a *Assembler) {
	t.Helper()
	if len(a.entries) != 0 || len(a.refused) != 0 || len(a.changed) != 0 {
		t.Errorf("an assembler of nothing holds %d entries, %d refusals, %d changes", len(a.entries), len(a.refused), len(a.changed))
	}
	if c := a.latest; len(c.Services) != 0 || len(c.Refused) != 0 {
		t.Errorf("a catalog of nothing has %q", show(c))
	}
}

// TestAssemblerForgetsValues: the value behind an instance, which may be as large
// as etcd allows, is not kept once it is decoded.
func TestAssemblerForgetsValues(t *testing.T) {
	a := NewAssembler("/services")
	a.Put("/services/web/a", make([]byte, 1<<20), 1, 0)
	a.Catalog(1)
	if n := len(a.entries["web/a"].leaf.value); n != 0 {
		t.Errorf("%d bytes are kept", n)
	}
}

// TestAssemblerChangeIsFlat: one change allocates as often among 10,000 instances as among 10.
func TestAssemblerChangeIsFlat(t *testing.T) {
	allocations := func(instances int) float64 {
		a := loaded(instances)
		key, value, revision := benchmarkKey(5), benchmarkValue(1), int64(instances)
		return testing.AllocsPerRun(100, func() {
			revision++
			a.Put(key, value, revision, 0)
			a.Catalog(revision)
		})
	}
	few, many := allocations(10), allocations(10_000)
	if many > few+2 {
		t.Errorf("a change among 10 instances makes %.0f allocations, among 10,000 %.0f", few, many)
	}
}
