package reload

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// IsInit says whether this process is the first one of its container, which has
// to look after every orphan in it: a proxy's workers whose master was killed
// would stay as zombies otherwise.
func IsInit() bool { return os.Getpid() == 1 }

// RunAsInit runs this program again, as a child, with the given arguments
// (argv[0] included) and environment; passes on to it the signals that it is
// sent, reaps every process that ends, and returns the child's exit code: 128 plus
// the signal's number if one killed it. It must not be called by a process that
// waits for children of its own, since their ends would be taken from it.
func RunAsInit(argv, env []string) (code int, err error) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	defer signal.Stop(signals)
	child, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// A terminal sends Ctrl-C to the whole foreground group. The child would hear
		// it twice, and the second one means haste.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 1, fmt.Errorf("run as the first process: %w", err)
	}
	pid := child.Pid
	if err := child.Release(); err != nil { // wait4 below is the one that waits
		return 1, err
	}
	for s := range signals {
		sig := s.(syscall.Signal)
		if sig != unix.SIGCHLD {
			_ = unix.Kill(pid, sig)
			continue
		}
		if code, ended, err := reap(pid); ended || err != nil {
			return code, err
		}
	}
	return 1, nil
}

// reap takes all ends that are to be had; several may have come with one signal.
func reap(child int) (code int, ended bool, err error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD) || err == nil && pid == 0:
			return code, ended, nil
		case err != nil:
			return 1, ended, fmt.Errorf("wait for children: %w", err)
		}
		if pid == child && (status.Exited() || status.Signaled()) {
			code, ended = status.ExitStatus(), true
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
		}
	}
}
