package reload

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// In a container root may list other users' files, and not see which they are: a worker
// must not be taken for one that has closed its listeners.
func TestFilesThatMayNotBeSeen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("run it as root: only root can be another user, and lose a capability")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	pid := strconv.Itoa(other.Process.Pid)
	for name, tt := range map[string]struct {
		with []string
		want string
	}{
		"root":                     {nil, "true"},
		"root without SYS_PTRACE":  {[]string{"setpriv", "--bounding-set=-sys_ptrace"}, "false"},
		"root without a privilege": {[]string{"setpriv", "--bounding-set=-all"}, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append(tt.with, program)
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), helperMode+"=known "+pid)
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); got != tt.want || err != nil {
				t.Errorf("is it known what it listens on: %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

// helpKnown says whether it can be told what a process listens on.
func helpKnown(pid string) int {
	id, err := strconv.Atoi(pid)
	if err != nil {
		return 94
	}
	p, ok := findProcess(id)
	if !ok {
		return 93
	}
	fmt.Println(newWorker(p, 0, sockets{}).known())
	return 0
}

// The child that runs CGI scripts lives as long as its server's configuration, and is no
// worker that could be waited for.
func TestScriptsAreNoWorker(t *testing.T) {
	f := newFixture(t, "apache")
	f.extra = fmt.Sprintf("LoadModule cgid_module %[1]s/mod_cgid.so\nScriptSock %[2]s/scripts\n", modules(f.program), f.dir)
	s, _ := f.supervise()
	proxy := f.proxy(s).(*Apache)
	tx := New(Config{Proxy: proxy, Logger: f.log, Timeouts: Timeouts{Confirm: 8 * time.Second}})
	t.Cleanup(func() { tx.Close() })
	f.apply(tx, "g1")
	master, _ := s.Process()
	scripts := func() (n int) {
		return len(processes(func(p stat) bool { return p.ppid == master.Pid && runsScripts(p.Process) }))
	}
	eventually(t, "there is a child for scripts", func() bool { return scripts() == 1 })
	out := f.apply(tx, "g2")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := out.Old.Wait(ctx); err != nil {
		t.Errorf("old workers: %v", err)
	}
	if scripts() == 0 {
		t.Error("the child for scripts is gone, so nothing was shown")
	}
	if len(proxy.children()) == 0 {
		t.Error("no child is called a worker")
	}
}
