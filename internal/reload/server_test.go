package reload

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func outputOf(err error) string {
	if e, ok := errors.AsType[*StepError](err); ok {
		return e.Output
	}
	return ""
}

func TestFirstStartChangeAndNothingToDo(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, s := f.transaction()
		out := f.apply(tx, "g1")
		if !out.Changed || !out.Reloaded || out.Took <= 0 || out.Old == nil {
			t.Errorf("first start: %+v", out)
		}
		f.serves("g1")
		first, _ := s.Process()

		out = f.apply(tx, "g2")
		if !out.Changed || !out.Reloaded {
			t.Errorf("change: %+v", out)
		}
		f.serves("g2")
		if now, _ := s.Process(); now != first {
			t.Errorf("change: the master was replaced: %v, then %v", first, now)
		}
		if err := out.Old.Wait(t.Context()); err != nil {
			t.Errorf("old workers: %v", err)
		}

		info, _ := os.Stat(f.main)
		out = f.apply(tx, "g2")
		if out.Changed || out.Reloaded || out.Took != 0 || out.Old == nil {
			t.Errorf("nothing to do: %+v", out)
		}
		if again, _ := os.Stat(f.main); !os.SameFile(info, again) {
			t.Error("nothing to do: the file was written")
		}
	})
}

func TestRefusedByTheServersCheck(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		f.apply(tx, "g1")
		good := f.config("g1")
		f.extra = "\nnonsense_directive on;\n"
		_, err := tx.Apply(t.Context(), f.candidate("g2"))
		step, ok := errors.AsType[*StepError](err)
		if !ok || step.Step != StepValidate {
			t.Fatalf("got %v, want a failed validate", err)
		}
		if !strings.Contains(step.Output, "nonsense_directive") || !strings.Contains(step.Output, f.main+":") && !strings.Contains(step.Output, "of "+f.main) {
			t.Errorf("output does not name the directive in %s:\n%s", f.main, step.Output)
		}
		f.onDisk(good)
		f.serves("g1")
		noLeftovers(t, f.dir)
	})
}

func TestRefusedByTheReloadIsRolledBack(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		f.apply(tx, "g1")
		good := f.config("g1")
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		f.extra = f.listenAlso(taken.Addr().String())
		_, err = tx.Apply(t.Context(), f.candidate("g2"))
		step, ok := errors.AsType[*StepError](err)
		if !ok || step.Step != StepConfirm || step.Rollback != nil {
			t.Fatalf("got %v, want a failed confirm that was rolled back", err)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it waited to the end, though the server had said that it would not: %v", err)
		}
		if !strings.Contains(step.Output, taken.Addr().String()) {
			t.Errorf("output does not name the port: %q", step.Output)
		}
		f.onDisk(good)
		f.serves("g1")
		f.extra = ""
		f.apply(tx, "g3")
		f.serves("g3")
	})
}

func TestDrainedWhenSlowRequestsAreAnswered(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		f.apply(tx, "g1")
		first := f.slow()
		f.apply(tx, "g2")
		f.serves("g2")
		second := f.slow()
		out := f.apply(tx, "g3")
		f.serves("g3")
		again := f.apply(tx, "g3")

		for name, old := range map[string]Workers{"after the reload": out.Old, "when there was nothing to do": again.Old} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if err := old.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: drained with two requests in flight: %v", name, err)
			}
			cancel()
		}
		for _, answer := range []chan string{first, second} {
			f.backend.release <- struct{}{}
			_ = answer
		}
		for _, answer := range []chan string{first, second} {
			if got := <-answer; got != "slow" {
				t.Errorf("slow request: got %q", got)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := again.Old.Wait(ctx); err != nil {
			t.Errorf("not drained: %v", err)
		}
		if err := out.Old.Wait(ctx); err != nil {
			t.Errorf("not drained: %v", err)
		}
	})
}

func TestNoOldWorkerAcceptsOnceApplied(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, s := f.transaction()
		f.apply(tx, "g0")
		master, _ := s.Process()
		for _, generation := range []string{"g1", "g2", "g3"} {
			before := processes(func(p stat) bool { return p.ppid == master.Pid })
			f.apply(tx, generation)
			stillListening(t, before)
			for range 20 {
				if got, err := get(t.Context(), "http://"+f.listen+"/"); err != nil || got != generation {
					t.Fatalf("after %s was applied: %q, %v", generation, got, err)
				}
			}
		}
	})
}

// stillListening finds fault with processes that accept connections.
func stillListening(t *testing.T, ps []Process) {
	t.Helper()
	if len(ps) == 0 {
		t.Fatal("there were no workers")
	}
	among := listening(os.Getpid())
	for _, p := range ps {
		if open, err := p.open(among); err == nil && len(open) > 0 {
			t.Errorf("worker %d still listens", p.Pid)
		}
	}
}

func TestDiskIsRightButTheServerServesSomethingElse(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		f.apply(tx, "g1")
		// As a render leaves it that is killed between swap and reload.
		if err := os.WriteFile(f.main, f.config("g2"), 0o644); err != nil {
			t.Fatal(err)
		}
		out := f.apply(tx, "g2")
		if out.Changed || !out.Reloaded {
			t.Errorf("got %+v, want a reload without a write", out)
		}
		f.serves("g2")
	})
}

func TestKilledMasterIsReplaced(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, s := f.transaction()
		f.apply(tx, "g1")
		slow := f.slow()
		first, _ := s.Process()
		workers := processes(func(p stat) bool { return p.ppid == first.Pid })
		if err := first.signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another master", func() bool { p, ok := s.Process(); return ok && p != first })
		eventually(t, "it serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g1" })
		stillListening(t, workers)
		out := f.apply(tx, "g2")
		f.serves("g2")
		if f.kind == "haproxy" { // its workers do not outlive their master
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := out.Old.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the orphan that serves a slow request is not among the old workers: %v", err)
		}
		cancel()
		f.backend.release <- struct{}{}
		if got := <-slow; got != "slow" {
			t.Errorf("slow request of an orphan: got %q", got)
		}
		if err := out.Old.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		eventually(t, "orphans are gone", func() bool { return len(s.Orphans()) == 0 })
	})
}

func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") && ext != ".good" && ext != ".lock" && ext != ".before" {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}
