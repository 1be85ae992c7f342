package reload

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKilledNginxStartsAgain kills an nginx that nobody supervises, such as systemd's when
// memory runs out: what it leaves behind may not keep the next one from starting.
func TestKilledNginxStartsAgain(t *testing.T) {
	f := newFixture(t, "nginx")
	write(t, f.main, string(f.config("g1")))
	proxy := f.proxy(f.byPidFile())
	run := func() (end func()) {
		cmd := exec.Command(f.program, "-c", f.main, "-g", "daemon off;")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end = func() {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
		}
		t.Cleanup(end)
		eventually(t, "it serves", func() bool { _, err := get(context.Background(), "http://"+f.listen+"/"); return err == nil })
		return end
	}
	end := run()
	if got, err := proxy.Running(t.Context()); got.Generation != "g1" || err != nil {
		t.Fatalf("got generation %q, %v, want g1", got, err)
	}
	end()
	if _, err := proxy.Running(t.Context()); err == nil {
		t.Fatal("a dead server tells its generation")
	}
	if _, err := os.Lstat(f.control); err != nil {
		t.Fatalf("a socket that may just have been made is gone: %v", err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(f.control, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := proxy.Running(t.Context()); err == nil {
		t.Fatal("a dead server tells its generation")
	}
	run()
}
