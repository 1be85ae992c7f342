package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"rollcall/test/ports"
)

// serveName starts a backend on loopback that answers with its name, and gives
// its host:port.
func serveName(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", name)
		fmt.Fprintf(w, "%s forwarded-for=%q\n", name, r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// forward makes a unix socket that leads to another one.
func forward(t *testing.T, path, to string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(out, in)
				_ = out.(*net.UnixConn).CloseWrite()
			}()
			go func() {
				_, _ = io.Copy(in, out)
				_ = in.Close()
				_ = out.Close()
			}()
		}
	}()
}

// A server runs by itself, as a machine's own does, and includes
// what render writes.
type server struct {
	proxy, dir, url string
	listen, control string

	*process
	program string
	argv    []string
}

// newServer starts a server with a main configuration of the usual shape.
func newServer(t *testing.T, proxy string) *server {
	t.Helper()
	dir := serverDir(t)
	s := &server{proxy: proxy, dir: dir, listen: local(ports.Free(t)), control: filepath.Join(dir, "control.sock")}
	s.url = "http://" + s.listen
	own := local(ports.Free(t))
	include := filepath.Join(dir, "conf.d")
	if err := os.Mkdir(include, 0o755); err != nil {
		t.Fatal(err)
	}
	main := ""
	s.program, s.argv = "/usr/sbin/nginx", []string{"-c", s.main(), "-g", "daemon off;"}
	switch proxy {
	case "nginx":
		main = fmt.Sprintf(`pid %[1]s/server.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
    include conf.d/*.conf;
    server { listen %[2]s; location / { return 204; } }
}
`, dir, own)
	case "apache":
		s.control = local(ports.Free(t))
		s.program, s.argv = "/usr/sbin/apache2", []string{"-DFOREGROUND", "-f", s.main()}
		main = fmt.Sprintf(`ServerRoot %[1]s
PidFile %[1]s/server.pid
ErrorLog /dev/stderr
DefaultRuntimeDir %[1]s
ServerName localhost
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
User www-data
Group www-data
Listen %[2]s
Listen %[3]s
IncludeOptional conf.d/*.conf
`, dir, own, s.listen)
	case "haproxy":
		s.program, s.argv = "/usr/sbin/haproxy", []string{"-W", "-f", s.main(), "-f", s.output(), "-p", filepath.Join(dir, "server.pid")}
		main = fmt.Sprintf(`global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend own
    bind %s
    http-request return status 204
`, own)
		// HAProxy does not start without a file that it is told to read.
		if err := os.WriteFile(s.output(), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(s.main(), []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	return s
}

// run starts the server, also again.
func (s *server) run(t *testing.T) {
	t.Helper()
	s.process = start(t, nil, s.program, s.argv...)
	eventually(t, s.proxy+" runs", func() error {
		pid, err := os.ReadFile(filepath.Join(s.dir, "server.pid"))
		if got := strings.TrimSpace(string(pid)); err == nil && got != strconv.Itoa(s.cmd.Process.Pid) {
			err = fmt.Errorf("the pid file says %q", got)
		}
		return err
	})
}

func (s *server) main() string { return filepath.Join(s.dir, "main.conf") }
func (s *server) output() string {
	ext := ".conf"
	if s.proxy == "haproxy" {
		ext = ".cfg"
	}
	return filepath.Join(s.dir, "conf.d", "rollcall"+ext)
}

func (s *server) fragment(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(s.output())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// args are render's for this server. A later --listen replaces none: the first is
// added only if the caller has none.
func (s *server) args(endpoint string, args ...string) []string {
	all := []string{
		s.proxy, "--endpoints", endpoint, "--output", s.output(), "--config", s.main(),
		"--pid-file", filepath.Join(s.dir, "server.pid"), "--control", s.control, "--run-dir", s.dir,
		"--listen", s.listen, "--status-listen", "", "--log-format", "text",
	}
	return append(all, args...)
}
