package e2e

import (
	"errors"
	"syscall"
	"testing"

	"rollcall/test/ports"
)

// The server runs in a container, its configuration is mounted into it; render, beside
// the container, has it checked in there, and reloaded by a signal or a command.
func TestServerInAContainer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, reload string }{
		{name: "signal"},
		{name: "command", reload: "nginx -s reload -c "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			put(t, endpoint, "/services/web/a", serveName(t, "a"))
			s := newServer(t, "nginx")
			s.signal(syscall.SIGTERM)
			s.wait()
			name := unique("nginx")
			args := []string{"run", "-d", "--name", name, "--network", "host", "--tmpfs", "/var/log/nginx", "-v", s.dir + ":" + s.dir}
			for _, dir := range []string{"/usr", "/lib", "/lib64", "/bin", "/etc"} {
				args = append(args, "-v", dir+":"+dir+":ro")
			}
			args = append(args, "--entrypoint", s.program, testbed.image)
			t.Cleanup(func() { _, _ = command("docker", "rm", "-f", name) })
			docker(t, append(args, s.argv...)...)

			status := local(ports.Free(t))
			b := &balancer{url: s.url, status: "http://" + status}
			more := []string{"--service", "web", "--status-listen", status, "--container", name}
			if tt.reload != "" {
				more = append(more, "--reload", tt.reload+s.main())
			}
			b.process = start(t, nil, testbed.render, s.args(endpoint, more...)...)
			eventually(t, "it is served", func() error { return errors.Join(ready(b.status), evenly(b.url, "a")) })
			put(t, endpoint, "/services/web/b", serveName(t, "b"))
			eventually(t, "who comes is routed to", func() error { return evenly(b.url, "a", "b") })
			docker(t, "restart", "-t", "1", name)
			put(t, endpoint, "/services/web/c", serveName(t, "c"))
			eventually(t, "a container that was started again is followed", func() error {
				return errors.Join(ready(b.status), evenly(b.url, "a", "b", "c"))
			})
		})
	}
}
