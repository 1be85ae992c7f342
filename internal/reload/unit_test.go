package reload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"
)

// insideSystemd tells the process within systemd's namespaces from the one that made them.
const insideSystemd = "RELOAD_TEST_SYSTEMD"

// boot starts systemd as the first process of namespaces of its own, on a copy of this
// machine's files that is gone at the end, with nothing to start. It needs root.
// $1 is a directory for it, $2 its cgroup, $3 the test binary.
const boot = `set -e
echo $$ > "$2/cgroup.procs"
exec unshare --mount --pid --cgroup --ipc --uts --fork --kill-child /bin/sh -ec '
	mount -t tmpfs tmpfs "$1"
	mkdir "$1/up" "$1/work" "$1/root"
	mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
	cd "$1/root"
	mount -t proc proc proc
	mount -t tmpfs -o mode=755 tmpfs run
	mount -t tmpfs tmpfs tmp
	mount -t tmpfs -o mode=755 tmpfs sys
	mkdir -p sys/fs/cgroup run/lock run/systemd/system
	mount -t cgroup2 cgroup2 sys/fs/cgroup
	cp "$3" run/reload.test
	echo "[Unit]" > run/systemd/system/rollcall-test.target
	container=docker exec chroot . /lib/systemd/systemd --unit=rollcall-test.target --log-target=console --show-status=0
' sh "$1" "$2" "$3"
`

func TestUnitOfSystemd(t *testing.T) {
	if os.Getenv(insideSystemd) != "" {
		testUnit(t)
		return
	}
	if os.Getuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("a systemd of one's own needs root")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cgroup := newCgroup(t)
	var said bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", boot, "sh", dir, cgroup, exe)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // --kill-child does the rest
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	first := 0
	eventually(t, "systemd answers", func() bool {
		for _, p := range processes(func(s stat) bool { return s.ppid == cmd.Process.Pid }) {
			if _, err := os.Stat(procPath(p.Pid, "root/run/systemd/private")); err == nil && p.is("systemd") {
				first = p.Pid
			}
		}
		return first != 0
	})
	inner := exec.CommandContext(t.Context(), "nsenter", "-t", fmt.Sprint(first), "--mount", "--pid", "--cgroup", "--root", "--wd=/",
		"/run/reload.test", "-test.run=^TestUnitOfSystemd$", "-test.v", "-test.timeout=60s")
	inner.Env = append(os.Environ(), insideSystemd+"=1", "TMPDIR=/tmp")
	if out, err := inner.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestUnitOfSystemd") {
		t.Errorf("within: %v\n%s", err, out)
	}
}

// newCgroup makes a cgroup where version 2 is mounted, and removes it at the end.
func newCgroup(t *testing.T) string {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		dir, err := os.MkdirTemp(root, "rollcall-reload-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			eventually(t, "its cgroup is removed", func() bool {
				var groups []string
				_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						groups = append(groups, path)
					}
					return nil
				})
				for _, g := range slices.Backward(groups) {
					_ = unix.Rmdir(g)
				}
				_, err := os.Stat(dir)
				return os.IsNotExist(err)
			})
		})
		return dir
	}
	t.Fatal("no cgroups of version 2 are mounted")
	return ""
}

// testUnit runs where systemd is the first process.
func testUnit(t *testing.T) {
	f := newFixture(t, "nginx")
	write(t, f.main, string(f.config("g1")))
	service := func(name, reload string) *Unit {
		write(t, "/run/systemd/system/"+name, fmt.Sprintf("[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=%s -c %s -g 'daemon off;'\n%s\n", f.program, f.main, reload))
		u := NewUnit(name)
		t.Cleanup(func() { u.Close() })
		return u
	}
	conn, err := systemd.NewWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	job := func(do func(context.Context, string, string, chan<- string) (int, error), name string) {
		t.Helper()
		done := make(chan string, 1)
		if _, err := do(t.Context(), name, "replace", done); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got != "done" {
			t.Fatalf("%s: %s", name, got)
		}
	}

	u := service("web.service", "ExecReload=/bin/kill -HUP $MAINPID")
	if err := u.Reload(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("before it is started: %v", err)
	}
	job(conn.StartUnitContext, "web.service")
	tx := f.transactionOn(u)
	f.apply(tx, "g2")
	f.serves("g2")
	before, ok := u.Process()
	if !ok || !before.is("nginx") {
		t.Fatalf("main process: %v, %t", before, ok)
	}

	// systemd executes itself anew, and every connection is lost.
	if out, err := Run(t.Context(), "systemctl", "daemon-reexec"); err != nil {
		t.Fatalf("daemon-reexec: %v\n%s", err, out)
	}
	if p, ok := u.Process(); !ok || p != before {
		t.Errorf("while systemd is away: %v, %t", p, ok)
	}
	eventually(t, "it is there again", func() bool {
		c, err := systemd.NewWithContext(t.Context())
		if err == nil {
			conn.Close()
			conn = c
		}
		return err == nil
	})
	f.apply(tx, "g3")
	f.serves("g3")

	job(conn.StopUnitContext, "web.service")
	if p, ok := u.Process(); ok {
		t.Errorf("stopped, but there is %v", p)
	}
	for reload, want := range map[string]string{"": "needs an ExecReload=", "ExecReload=/bin/false": "failed (hint: systemctl status"} {
		name := fmt.Sprintf("web%d.service", len(reload))
		bad := service(name, reload)
		job(conn.StartUnitContext, name)
		if err := bad.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", reload, err, want)
		}
		job(conn.StopUnitContext, name)
	}
	slow := service("slow.service", "ExecReload=/bin/sleep 30")
	job(conn.StartUnitContext, "slow.service")
	if err := slow.Reload(within(t, 200*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a reload without an end: %v", err)
	}
	job(conn.StopUnitContext, "slow.service")
}
