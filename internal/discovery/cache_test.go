package discovery

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var cacheTime = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func writeCache(t testing.TB, c *Catalog) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteCache(&b, "/services", c, cacheTime); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCacheRoundTrip: what comes back is what was there, whatever layout it came in.
func TestCacheRoundTrip(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		h := newHistory()
		for range 100 {
			h.put(randomKey(r), pick(r, randomValues), r.Int64N(3))
		}
		h.put("/services/web/full", `{"host":"10.0.0.5","port":80,"started":"2026-01-02T03:04:05.5+02:00","hosts":["b.example.com","a"],"path":"/x/",`+
			`"version":"<&> \u00e9","meta":{"a":" b ","empty":""},"tags":["<a>", "b"],"ttl":60}`, 1<<62)
		h.put("/services/web/large/host", "10.0.0.9", 5)
		h.put("/services/web/large/port", "80", 5)
		for n := range maxMeta {
			h.put(fmt.Sprint("/services/web/large/meta.", n), strings.Repeat("<", maxMetaText), 5)
		}
		want := h.assembler.Catalog(h.revision)
		if large, _ := want.Service("web"); len(large.Instances) < 2 {
			t.Fatalf("there is nothing to write: %v", want.Refused)
		}
		got, written, err := ReadCache(strings.NewReader(writeCache(t, want)), "/services")
		if err != nil {
			t.Fatal(err)
		}
		if !written.Equal(cacheTime) || !got.Stale {
			t.Errorf("written %s, stale: %t", written, got.Stale)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Catalog{}, "Refused", "Stale")); diff != "" {
			t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
		}
	}
}

func TestReadCacheRefuses(t *testing.T) {
	head := `{"format":"rollcall catalog 1","prefix":"/services","revision":9,"written":"2026-01-02T03:04:05Z","instances":%d}` + "\n"
	line := `{"service":"web","instance":"%s","revision":9,"record":{"host":"10.0.0.5","port":80}}` + "\n"
	of := func(names ...string) string {
		s := fmt.Sprintf(head, len(names))
		for _, n := range names {
			s += fmt.Sprintf(line, n)
		}
		return s
	}
	for name, tt := range map[string]struct{ in, want string }{
		"nothing":           {"", `not a "rollcall catalog 1"`},
		"something else":    {"10.0.0.5:80\n", `not a "rollcall catalog 1"`},
		"a later format":    {strings.Replace(of(), "catalog 1", "catalog 2", 1), `not a "rollcall catalog 1"`},
		"another prefix":    {strings.Replace(of(), "/services", "/else\\nwhere", 1), `it is of the records below "/else\nwhere"`},
		"cut off":           {strings.SplitAfter(of("a", "b"), "\n")[0] + fmt.Sprintf(line, "a"), "1 instances, of 2"},
		"cut off in a line": {of("a", "b")[:len(of("a", "b"))-10], "instance 2: not an instance"},
		"too many":          {of("a") + fmt.Sprintf(line, "b"), "2 instances, of 1"},
		"twice":             {of("a", "a"), "instance 2: not in order"},
		"not in order":      {of("b", "a"), "instance 2: not in order"},
		"not an instance":   {strings.Replace(of("a"), `"service"`, `"sevrice"`, 1), "instance 1: not an instance"},
		"broken text":       {of("a\xff"), "instance 1: not valid UTF-8"},
		"a line too long":   {of(strings.Repeat("a", maxCacheLine)), "bufio.Scanner: token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := ReadCache(strings.NewReader(tt.in), "/services")
			if c != nil || err == nil || err.Error() != tt.want {
				t.Errorf("got %v, %v, want %s", c, err, tt.want)
			}
		})
	}

	c, _, err := ReadCache(strings.NewReader(strings.Replace(of("a", "b b", "c"), "80", "0", 1)), "/services")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"web/c 10.0.0.5:80 @9", "! /services/web/a @9", "! /services/web/b b @9"}, show(c)); diff != "" {
		t.Errorf("a record that is not valid is left out, -want +got:\n%s", diff)
	}
}

// FuzzReadCache: what is read from any file is as good as what is read from etcd.
func FuzzReadCache(f *testing.F) {
	a := NewAssembler("/services")
	put(a, "/services/a/1", "10.0.0.5:80", "/services/b/2", `{"host":"a","port":1,"x":{"y":1},"hosts":["c.d"],"meta":{"k":"v"},"started":"2026-01-02T03:04:05Z"}`)
	f.Add([]byte(writeCache(f, a.Catalog(2))))
	f.Add([]byte(`{"format":"rollcall catalog 1","prefix":"/services","instances":1}` + "\n" + `{"service":"a","instance":"b","record":{"host":"\u0000","port":1},"extra":{"\n":"\n"}}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, _, err := ReadCache(bytes.NewReader(file), "/services")
		if err != nil {
			return
		}
		checkCatalog(t, c)
		again, _, err := ReadCache(strings.NewReader(writeCache(t, c)), "/services")
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		c.Refused = nil
		if diff := diff(c, again); diff != "" {
			t.Fatalf("-read +read again:\n%s", diff)
		}
		for _, s := range c.Services {
			for _, i := range s.Instances {
				if i.Held || slices.ContainsFunc(slices.Collect(maps.Keys(i.Extra)), func(k string) bool { return validateText(k, maxLabel) != nil }) {
					t.Fatalf("%+v", i)
				}
			}
		}
	})
}
