package reload

import (
	"os"
	"strconv"
	"testing"
)

// TestKilledAtAnyPointBesideAServer looks after each point at the real thing: the
// server still serves, accepts what is on disk, and takes the next configuration.
func TestKilledAtAnyPointBesideAServer(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		served := "g0"
		f.apply(tx, served)
		tx.Close()
		point := 0
		for done := false; !done; {
			point++
			next := "g" + strconv.Itoa(point)
			done = killPlan{
				Candidate: f.candidate(next), Point: point,
				Kind: f.kind, Program: f.program, Main: f.main, Control: f.control, PidFile: f.pidFile,
			}.die(t)
			got, err := get(t.Context(), "http://"+f.listen+"/")
			if err != nil || got != served && got != next {
				t.Fatalf("point %d: served %q, %v; want %s or %s", point, got, err, served, next)
			}
			f.acceptsDisk(served, next)
			served = next
			f.next(served)
			f.serves(served)
			noLeftovers(t, f.dir)
		}
		if point < 10 {
			t.Errorf("only %d points", point)
		}
	})
}

// next applies a generation as a render does that has just been started.
func (f *fixture) next(generation string) {
	f.t.Helper()
	tx := New(Config{Proxy: f.proxy(f.byPidFile()), Logger: f.log})
	defer tx.Close()
	if _, err := tx.Apply(f.t.Context(), f.candidate(generation)); err != nil {
		f.t.Fatalf("apply %s: %v\n%s", generation, err, outputOf(err))
	}
}

// acceptsDisk has the server check the file that is on disk, of one of the generations.
func (f *fixture) acceptsDisk(generations ...string) {
	f.t.Helper()
	have, err := os.ReadFile(f.main)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, g := range generations {
		if string(have) != string(f.config(g)) {
			continue
		}
		staged := Staged{Generation: g, Files: []StagedFile{{Path: f.main, Staged: f.main}}}
		if err := f.proxy(f.byPidFile()).Validate(f.t.Context(), staged); err != nil {
			f.t.Fatalf("%s, which is on disk: %v\n%s", g, err, outputOf(err))
		}
		return
	}
	f.t.Fatalf("on disk is none of %v: %q", generations, have)
}

// byPidFile is the fixture's server as one that somebody else runs.
func (f *fixture) byPidFile() PidFile {
	switch f.kind {
	case "apache":
		return ApachePidFile(f.pidFile)
	case "haproxy":
		return HAProxyPidFile(f.pidFile)
	}
	return NginxPidFile(f.pidFile)
}
