package reload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMistakeInADropIn shows that a server's words about it name the drop-in itself.
func TestMistakeInADropIn(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		f.apply(tx, "g1")
		before, _ := os.ReadFile(f.main)
		dropIn := filepath.Join(f.dir, "mine.conf")
		c := f.dropIn("g2", dropIn, "# fine\nnonsense_directive on;\n")
		place := fmt.Sprintf("(%s:2)", dropIn)

		for name, err := range map[string]error{"check": tx.Check(t.Context(), c), "apply": second(tx.Apply(t.Context(), c))} {
			step, _ := errors.AsType[*StepError](err)
			if step == nil || step.Step != StepValidate || !strings.Contains(step.Output, place) || !strings.Contains(step.Output, f.main) {
				t.Errorf("%s: got %v with %q, want %s in it", name, err, outputOf(err), place)
			}
		}
		if after, _ := os.ReadFile(f.main); string(after) != string(before) {
			t.Errorf("the file changed: %s", after)
		}
		f.serves("g1")
		noLeftovers(t, f.dir)
		if err := tx.Check(t.Context(), f.dropIn("g2", dropIn, "# fine\n")); err != nil {
			t.Errorf("check of what is good: %v\n%s", err, outputOf(err))
		}
		if after, _ := os.ReadFile(f.main); string(after) != string(before) {
			t.Errorf("a check changed the file: %s", after)
		}
		f.serves("g1")
		noLeftovers(t, f.dir)
	})
}

// TestUnclosedDropIn has nginx stumble behind a drop-in over what that left open.
func TestUnclosedDropIn(t *testing.T) {
	f := newFixture(t, "nginx")
	write(t, f.main, string(f.config("g1")))
	dropIn := filepath.Join(f.dir, "mine.conf")
	err := f.transactionOn(f.byPidFile()).Check(t.Context(), f.dropIn("g2", dropIn, "server {\n    listen 127.0.0.1:1;\n"))
	if said, want := outputOf(err), "(after "+dropIn+":2)"; !strings.Contains(said, want) {
		t.Errorf("got %v with %q, want %s in it", err, said, want)
	}
}

func second(_ Outcome, err error) error { return err }

// dropIn is a configuration with a drop-in in it.
func (f *fixture) dropIn(generation, path, content string) Candidate {
	const here = "# here it begins\n"
	f.extra = here + content
	c := f.candidate(generation)
	f.extra = ""
	text := string(c.Files[0].Content)
	line := strings.Count(text[:strings.Index(text, here)], "\n") + 2
	c.Files[0].Origins = []Origin{{Line: line, End: line + strings.Count(content, "\n"), Path: path}}
	return c
}

func TestPlacesInDropIns(t *testing.T) {
	c := Candidate{Files: []File{
		{Path: "/etc/n/m.conf", Origins: []Origin{{Line: 10, End: 13, Path: "/d/a.conf"}, {Line: 20, End: 21, Path: "/d/b.conf"}}},
		{Path: "/etc/n/other.conf"},
	}}
	for words, want := range map[string]string{
		`unknown directive "x" in /etc/n/m.conf:12`:                  `unknown directive "x" in /etc/n/m.conf:12 (/d/a.conf:3)`,
		"in /etc/n/m.conf:10\nin /etc/n/m.conf:20":                   "in /etc/n/m.conf:10 (/d/a.conf:1)\nin /etc/n/m.conf:20 (/d/b.conf:1)",
		"Syntax error on line 11 of /etc/n/m.conf:\nno":              "Syntax error on line 11 of /etc/n/m.conf (/d/a.conf:2):\nno",
		"[ALERT] (1) : config : parsing [/etc/n/m.conf:12] : what":   "[ALERT] (1) : config : parsing [/etc/n/m.conf:12 (/d/a.conf:3)] : what",
		"in /etc/n/m.conf:13":                                        "in /etc/n/m.conf:13 (after /d/a.conf:3)",
		"in /etc/n/m.conf:120":                                       "in /etc/n/m.conf:120 (after /d/b.conf:1)",
		"in /etc/n/m.conf:9":                                         "in /etc/n/m.conf:9",
		"in /etc/n/m.conf.old:12, on line 12 of /etc/n/m.conf.old":   "in /etc/n/m.conf.old:12, on line 12 of /etc/n/m.conf.old",
		"in /etc/n/other.conf:12":                                    "in /etc/n/other.conf:12",
		"in /etc/n/m.conf:99999999999999999999, in /etc/n/m.conf:12": "in /etc/n/m.conf:99999999999999999999, in /etc/n/m.conf:12 (/d/a.conf:3)",
		"": "",
	} {
		if got := c.traced(words); got != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
}

func FuzzPlaces(f *testing.F) {
	f.Add("in /etc/n/m.conf:12", 1, 30)
	f.Add("on line 11 of /etc/n/m.conf", 0, 0)
	f.Fuzz(func(t *testing.T, words string, line, end int) {
		c := Candidate{Files: []File{{Path: "/etc/n/m.conf", Origins: []Origin{{Line: line, End: end, Path: "/d"}}}}}
		got := c.traced(words)
		if !strings.Contains(words, "/d:") && strings.Contains(got, "/d:") == (got == words) {
			t.Errorf("%q: got %q", words, got)
		}
	})
}
