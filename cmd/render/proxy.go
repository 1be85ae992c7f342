package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

// A proxy is what the command has to know of a server: where Debian keeps its
// things, and how its driver is made.
type proxy struct {
	name, title string
	debian      string // the package
	output      string // the fragment
	main        string // what includes it
	included    string // a sentence on how the server comes to read the fragment
	pidFile     string
	programs    []string
	fragments   string                     // what drop-ins are called
	streams     bool                       // it serves TCP
	shutdown    string                     // what bounds old workers; "" where nothing does
	control     func(runDir string) string // the default of --control of a supervised server
	beside      string                     // that of a server that runs by itself: there at any boot
	address     bool                       // --control is an address, not a path
	controlHint string

	driver  func(o *options, m reload.Master, run reload.Runner) (reload.Proxy, error)
	child   func(o *options) reload.SupervisorConfig
	running func(pidFile string) reload.PidFile
}

// server says that there is a server which render knows; otherwise there are only files.
func (p proxy) server() bool { return len(p.programs) > 0 }

// file is the name of the configuration in the run directory.
func (p proxy) file() string { return p.name + filepath.Ext(p.main) }

func nginx() proxy {
	return proxy{
		name: "nginx", title: "nginx", debian: "nginx",
		output: "/etc/nginx/conf.d/rollcall.conf", main: "/etc/nginx/nginx.conf", pidFile: "/run/nginx.pid",
		included: "/etc/nginx/nginx.conf must include it.",
		programs: []string{"nginx"}, fragments: "*.conf", streams: true, shutdown: "worker_shutdown_timeout",
		control: controlSocket, beside: "/run/rollcall-nginx.sock", controlHint: "for example /run/rollcall-nginx.sock",
		driver: func(o *options, m reload.Master, run reload.Runner) (reload.Proxy, error) {
			return reload.NewNginx(reload.NginxConfig{Main: o.main, Control: o.balancer.Control, Program: o.program, Master: m, Run: run, Gate: o.balancer.Gate, Secret: o.secret})
		},
		child: func(o *options) reload.SupervisorConfig {
			return reload.NginxChild(o.program, o.main, o.pidFile, o.balancer.Control)
		},
		running: reload.NginxPidFile,
	}
}

func apache() proxy {
	return proxy{
		name: "apache", title: "the Apache HTTP Server", debian: "apache2",
		output: "/etc/apache2/conf-enabled/rollcall.conf", main: "/etc/apache2/apache2.conf", pidFile: "/run/apache2/apache2.pid",
		included: "/etc/apache2/apache2.conf must include it.",
		programs: []string{"apache2", "httpd"}, fragments: "*.conf",
		control: func(string) string { return "127.0.0.1:9403" }, beside: "127.0.0.1:9403",
		address: true, controlHint: "for example 127.0.0.1:9403",
		driver: func(o *options, m reload.Master, run reload.Runner) (reload.Proxy, error) {
			return reload.NewApache(reload.ApacheConfig{Main: o.main, Control: o.balancer.Control, Program: o.program, Master: m, Run: run, Gate: o.balancer.Gate, Side: o.balancer.Side, Members: o.secret})
		},
		child: func(o *options) reload.SupervisorConfig {
			return reload.ApacheChild(o.program, o.main, o.pidFile)
		},
		running: reload.ApachePidFile,
	}
}

func haproxy() proxy {
	return proxy{
		name: "haproxy", title: "HAProxy", debian: "haproxy",
		output: "/etc/haproxy/rollcall.cfg", main: "/etc/haproxy/haproxy.cfg", pidFile: "/run/haproxy.pid",
		included: "HAProxy must be started with it, by a second -f.",
		programs: []string{"haproxy"}, fragments: "*.cfg", streams: true, shutdown: "hard-stop-after",
		control: controlSocket, beside: "/run/rollcall-haproxy.sock", controlHint: "for example /run/rollcall-haproxy.sock",
		driver: func(o *options, m reload.Master, run reload.Runner) (reload.Proxy, error) {
			return reload.NewHAProxy(reload.HAProxyConfig{Main: o.main, Control: o.balancer.Control, Program: o.program, Master: m, Run: run, Members: o.balancer.Members})
		},
		child: func(o *options) reload.SupervisorConfig {
			return reload.HAProxyChild(o.program, o.main, o.pidFile, o.sockets()...)
		},
		running: reload.HAProxyPidFile,
	}
}

// files is no server: templates of the operator's, and commands of theirs.
func files() proxy { return proxy{name: "file", title: "files"} }

func controlSocket(runDir string) string { return runDir + "/control.sock" }

// maxSocket is what fits into Linux's struct sockaddr_un with its closing zero.
const maxSocket = 107

// checkControl says what is wrong with a --control of this proxy.
func (p proxy) checkControl(control string) error {
	if !p.address {
		if control == "" || control[0] != '/' {
			return fmt.Errorf("%q is not an absolute path", control)
		}
		if len(control) > maxSocket {
			return fmt.Errorf("%q is longer than the %d bytes that a unix socket's path may have", control, maxSocket)
		}
		return nil
	}
	host, _, err := discovery.SplitHostPort(control)
	if err != nil {
		return err
	}
	if addr, err := netip.ParseAddr(host); err != nil || !addr.IsLoopback() {
		return fmt.Errorf("%q is not a loopback address: whoever reaches it sees the server's status", host)
	}
	return nil
}

// modules finds Apache's loadable modules where distributions keep them.
func (p proxy) modules() string {
	if !p.address {
		return ""
	}
	for _, dir := range []string{"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/libexec/apache2", "/usr/local/apache2/modules"} {
		if exists(dir + "/mod_proxy.so") {
			return dir
		}
	}
	return ""
}

// streamModule finds nginx's module for TCP where distributions that build it apart
// keep it; "" where it is part of the program.
func streamModule() string {
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules"} {
		if path := dir + "/ngx_stream_module.so"; exists(path) {
			return path
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// superviseControl tells in --help of the default with --supervise, if that is another one.
func (p proxy) superviseControl() string {
	if c := p.control("RUN-DIR"); c != p.beside {
		return ", or " + c + " with --supervise"
	}
	return ""
}
