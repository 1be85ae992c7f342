package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"rollcall/test/ports"
)

// The disk with the configuration is full, or read-only.
func TestDisks(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		disk, run, status, port := serverDir(t), serverDir(t), local(ports.Free(t)), local(ports.Free(t))
		args := []string{
			// Mounts of its own, which go with it.
			"--mount", "--propagation", "private", "sh", "-c", `mount -t tmpfs -o size=256k,mode=755 none "$0" && exec "$@"`, disk,
			testbed.render, proxy, "--supervise", "--endpoints", endpoint, "--service", "web", "--listen", port, "--status-listen", status,
			"--output", filepath.Join(disk, "balancer.conf"), "--run-dir", run, "--log-format", "text", "--set", "dynamic=off",
		}
		if proxy == "apache" {
			args = append(args, "--control", local(ports.Free(t)))
		}
		b := &balancer{process: start(t, nil, "unshare", args...), url: "http://" + port, status: "http://" + status}
		eventually(t, "it is served", func() error { return errors.Join(ready(b.status), evenly(b.url, "a")) })
		names := []string{"a"}
		pid := strconv.Itoa(b.cmd.Process.Pid)
		filler := filepath.Join("/proc", pid, "root", disk, "filler")
		remount := func(how string) {
			t.Helper()
			if out, err := command("nsenter", "--target", pid, "--mount", "mount", "-o", "remount,"+how, disk); err != nil {
				t.Fatal(err, out)
			}
		}
		for _, tt := range []struct {
			name, says, hint string
			spoil, repair    func()
		}{
			{
				"b", "no space left on device", "hint: make room on the file system of " + disk,
				func() {
					f, err := os.Create(filler)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					for err == nil {
						_, err = f.Write(make([]byte, 4096))
					}
					if !errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
				},
				func() {
					if err := os.Remove(filler); err != nil {
						t.Fatal(err)
					}
				},
			},
			{"c", "read-only file system", "ReadWritePaths=", func() { remount("ro") }, func() { remount("rw") }},
		} {
			tt.spoil()
			put(t, endpoint, "/services/web/"+tt.name, serveName(t, tt.name))
			b.says(t, tt.says)
			b.says(t, tt.hint)
			if err := evenly(b.url, names...); err != nil {
				t.Errorf("%s: %v", tt.says, err)
			}
			names = append(names, tt.name)
			tt.repair()
			eventually(t, "the newest is served after: "+tt.says, func() error {
				return errors.Join(ready(b.status), evenly(b.url, names...))
			})
		}
	})
}
