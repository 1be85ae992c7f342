package engines

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside tells, in the environment, the process within the world from the one that made it.
const inside = "ROLLCALL_TEST_WORLD"

// machine is the world's own address, on which its published ports are reached.
const machine = "198.51.100.1"

// inWorld runs this test binary again in namespaces of its own: processes, mounts and
// network. The engines in there have their usual directories, bridges and sockets and
// meet neither each other's nor the machine's; and whatever happens, nothing of them
// outlives the first process, which dies with this one.
func inWorld(env ...string) (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	// The kernel sends the signal at the end of the thread that started the process.
	runtime.LockOSThread()
	// The shell is there to wait for orphans, of which containers leave many.
	args := []string{
		"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"/bin/sh", "-c", `"$@"; exit $?`, "sh", self,
	}
	cmd := exec.Command("unshare", append(args, os.Args[1:]...)...)
	cmd.Env = append(append(os.Environ(), inside+"=1"), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("run in namespaces of our own, as root: %w", err)
	}
	return 0, nil
}

// settle makes the world habitable, from within.
func settle() error {
	// The machine's own are out of sight, and what the engines write is gone at the end.
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount on %s: %w", dir, err)
		}
	}
	if err := os.Mkdir("/run/lock", 0o755); err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	return cmp.Or(up(socket, "lo", "127.0.0.1"), up(socket, "lo:1", machine))
}

// up gives an interface an address.
func up(socket int, name, address string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	var ip [4]byte
	if _, err := fmt.Sscanf(address, "%d.%d.%d.%d", &ip[0], &ip[1], &ip[2], &ip[3]); err != nil {
		return err
	}
	if err := request.SetInet4Addr(ip[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, request); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// removeCgroups removes what containers leave in the one place that namespaces do not hide.
func removeCgroups(parent string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		roots, err := filepath.Glob(pattern + parent)
		if err != nil {
			continue
		}
		for _, root := range roots {
			removeGroup(root)
		}
	}
}

// removeGroup removes a group, those within it first: its files are not to be removed.
func removeGroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}
