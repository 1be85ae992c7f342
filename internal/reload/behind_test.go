package reload

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBehindOurBack has others do things to the file and to the server. Whatever
// it is, the next Apply puts it right, and does no more than that takes.
func TestBehindOurBack(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		write(t, f.main, string(f.config("g1")))
		_, stop := f.supervise()
		master := f.byPidFile()
		tx := f.transactionOn(master)
		eventually(t, "the server runs", func() bool { _, ok := master.Process(); return ok })
		f.apply(tx, "g1")
		good := (&destination{real: f.main}).goodName()
		must := func(errs ...error) {
			t.Helper()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		}
		byHand := func(generation string) {
			t.Helper()
			write(t, f.main, string(f.config(generation)))
			p, ok := master.Process()
			if !ok {
				t.Fatal("no server")
			}
			// One that answers is not all: an older worker may still accept, and answer Apply.
			var older []*worker
			for _, w := range childrenOf(p) {
				older = append(older, newWorker(w, 0, listening(p.Pid)))
			}
			must(p.signalReady(t.Context(), master.ReloadSignal))
			eventually(t, "it is served", func() bool {
				got, _ := get(t.Context(), "http://"+f.listen+"/")
				return got == generation && !slices.ContainsFunc(older, (*worker).accepting)
			})
		}
		restart := func() {
			t.Helper()
			stop()
			if _, ok := master.Process(); ok {
				t.Fatal("the server still runs")
			}
			_, stop = f.supervise()
			eventually(t, "it runs again", func() bool { _, err := get(t.Context(), "http://"+f.listen+"/"); return err == nil })
		}

		for _, tt := range []struct {
			name              string
			happens           func()
			changed, reloaded bool
		}{
			{"nothing", func() {}, false, false},
			{"the file is replaced", func() { must(os.Remove(f.main)); write(t, f.main, "# by hand\n") }, true, true},
			{"the file is edited in place", func() {
				file, err := os.OpenFile(f.main, os.O_WRONLY|os.O_APPEND, 0)
				must(err)
				_, err = file.WriteString("# by hand\n")
				must(err, file.Close())
			}, true, true},
			{"the file is removed", func() { must(os.Remove(f.main)) }, true, true},
			{"the last good one is removed", func() { must(os.Remove(good)) }, false, false},
			{"another configuration is loaded", func() { byHand("other") }, true, true},
			{"another was loaded, and the file is as it was", func() {
				byHand("other")
				must(os.Remove(f.main))
				write(t, f.main, string(f.config("g1")))
			}, false, true},
			{"the server is restarted", restart, false, false},
			{"the server is restarted with another configuration", func() {
				write(t, f.main, string(f.config("other")))
				restart()
			}, true, true},
			{"the server is killed", func() {
				p, _ := master.Process()
				must(p.signal(unix.SIGKILL))
				eventually(t, "another one runs", func() bool {
					now, ok := master.Process()
					_, err := get(t.Context(), "http://"+f.listen+"/")
					return ok && now != p && err == nil
				})
			}, false, false},
		} {
			tt.happens()
			out, err := tx.Apply(t.Context(), f.candidate("g1"))
			if err != nil {
				t.Fatalf("%s: %v\n%s", tt.name, err, outputOf(err))
			}
			if out.Changed != tt.changed || out.Reloaded != tt.reloaded {
				t.Errorf("%s: %+v, want changed %t, reloaded %t", tt.name, out, tt.changed, tt.reloaded)
			}
			f.serves("g1")
			f.onDisk(f.config("g1"))
			if b, err := os.ReadFile(good); err != nil || string(b) != string(f.config("g1")) {
				t.Errorf("%s: kept as good: %q, %v", tt.name, b, err)
			}
			noLeftovers(t, f.dir)
		}
	})
}

// TestMainFileThatDoesNotIncludeUsAnyMore is somebody else's to put right.
func TestMainFileThatDoesNotIncludeUsAnyMore(t *testing.T) {
	f := newFixture(t, "nginx")
	path := f.asFragment("conf.d/*.conf")
	write(t, path, f.site("g0"))
	tx, _ := f.transaction()
	if _, err := tx.Apply(t.Context(), f.fragment(path, "g1")); err != nil {
		t.Fatalf("apply: %v\n%s", err, outputOf(err))
	}
	main, err := os.ReadFile(f.main)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f.main, strings.ReplaceAll(string(main), "conf.d/*.conf", "conf.d/a.conf"))
	_, err = tx.Apply(t.Context(), f.fragment(path, "g2"))
	if step, ok := errors.AsType[*StepError](err); !ok || step.Step != StepValidate || !strings.Contains(err.Error(), "does not include") {
		t.Errorf("got %v, want that the main file does not include it", err)
	}
	f.serves("g1")
	write(t, f.main, string(main))
	if _, err := tx.Apply(t.Context(), f.fragment(path, "g2")); err != nil {
		t.Fatalf("put right: %v\n%s", err, outputOf(err))
	}
	f.serves("g2")
	noLeftovers(t, filepath.Dir(path))
}
