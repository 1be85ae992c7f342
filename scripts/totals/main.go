// Command totals reads what go test -json writes and shows what a person wants of
// it: a line for each package, the whole output of what failed, and the totals at
// the end. A skipped test counts as a failure, since every server that a test may
// need is there (make deps).
//
//	go test -json ./... | go run ./scripts/totals
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	began := time.Now()
	r, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "totals:", err)
		os.Exit(1)
	}
	r.print(os.Stdout, time.Since(began))
	if !r.good() {
		os.Exit(1)
	}
}

// An event is one line of go test -json (go doc test2json); build output has a
// package's import path where the events of tests have its name.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64 // seconds
}

// A report is what came of all tests. Subtests are counted as tests.
type report struct {
	packages, passed int
	failed, skipped  []string // "package Test", or a package alone
}

func (r *report) good() bool { return len(r.failed) == 0 && len(r.skipped) == 0 && r.packages > 0 }

// read follows the events to their end and prints packages as they finish.
func read(in io.Reader, out io.Writer) (*report, error) {
	r := &report{}
	said := map[string]*strings.Builder{} // by package and test, until it ends
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(out, lines.Text()) // what go itself has to say
			continue
		}
		id := strings.TrimSpace(cmp.Or(e.Package, e.ImportPath) + " " + e.Test)
		switch e.Action {
		case "output", "build-output":
			if said[id] == nil {
				said[id] = &strings.Builder{}
			}
			said[id].WriteString(e.Output)
			continue
		case "pass", "fail", "skip":
			r.count(e, id)
			if e.Test == "" || e.Action != "pass" {
				r.show(out, e, said, id)
			}
			delete(said, id)
		}
	}
	return r, lines.Err()
}

// count enters the end of a test or of a package. A package fails by a test, or by
// itself: it did not build, it crashed, goroutines were left.
func (r *report) count(e event, id string) {
	switch {
	case e.Test != "" && e.Action == "pass":
		r.passed++
	case e.Test != "" && e.Action == "fail":
		r.failed = append(r.failed, id)
	case e.Test != "" && e.Action == "skip":
		r.skipped = append(r.skipped, id)
	case e.Action == "skip": // no test files
	default:
		r.packages++
		byTest := slices.ContainsFunc(r.failed, func(f string) bool { return strings.HasPrefix(f, e.Package+" ") })
		if e.Action == "fail" && !byTest {
			r.failed = append(r.failed, id)
		}
	}
}

func (r *report) show(out io.Writer, e event, said map[string]*strings.Builder, id string) {
	text := func(id string) string {
		if said[id] == nil {
			return ""
		}
		return said[id].String()
	}
	switch {
	case e.Test == "" && e.Action == "pass":
		fmt.Fprintf(out, "ok    %7.2f s  %s\n", e.Elapsed, e.Package)
	case e.Test == "" && e.Action == "fail":
		// Tests that were still running when the package ended have not been shown.
		for _, other := range slices.Sorted(maps.Keys(said)) {
			if strings.HasPrefix(other, e.Package+" ") || other == id || other == e.FailedBuild {
				fmt.Fprint(out, text(other))
			}
		}
		fmt.Fprintf(out, "FAIL  %7.2f s  %s\n", e.Elapsed, e.Package)
	case e.Test != "":
		fmt.Fprint(out, text(id))
	}
}

func (r *report) print(out io.Writer, took time.Duration) {
	for _, f := range r.failed {
		fmt.Fprintln(out, "failed: ", f)
	}
	for _, s := range r.skipped {
		fmt.Fprintln(out, "skipped:", s, "(nothing may be skipped)")
	}
	fmt.Fprintf(out, "%d tests passed, %d failed, %d skipped, in %d packages and %.0f s\n",
		r.passed, len(r.failed), len(r.skipped), r.packages, took.Seconds())
}
