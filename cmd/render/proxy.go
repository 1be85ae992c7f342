package main

import (
	"fmt"
	"net/netip"
	"os"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

// A proxy is what the command has to know of a server: where Debian keeps its
// things, and how its driver is made.
type proxy struct {
	name, title string
	output      string // the fragment
	main        string // what includes it
	pidFile     string
	programs    []string
	control     func(runDir string) string // the default of --control
	address     bool                       // --control is an address, not a path
	controlHint string

	driver  func(program, main, control string, m reload.Master) (reload.Proxy, error)
	child   func(program, main, pidFile, control string) reload.SupervisorConfig
	running func(pidFile string) reload.Master
}

func nginx() proxy {
	return proxy{
		name: "nginx", title: "nginx",
		output: "/etc/nginx/conf.d/rollcall.conf", main: "/etc/nginx/nginx.conf", pidFile: "/run/nginx.pid",
		programs: []string{"nginx"},
		control:  func(runDir string) string { return runDir + "/control.sock" }, controlHint: "for example /run/rollcall/nginx/control.sock",
		driver: func(program, main, control string, m reload.Master) (reload.Proxy, error) {
			return reload.NewNginx(reload.NginxConfig{Main: main, Control: control, Program: program, Master: m})
		},
		child:   reload.NginxChild,
		running: func(pidFile string) reload.Master { return reload.NginxPidFile(pidFile) },
	}
}

func apache() proxy {
	return proxy{
		name: "apache", title: "the Apache HTTP Server",
		output: "/etc/apache2/conf-enabled/rollcall.conf", main: "/etc/apache2/apache2.conf", pidFile: "/run/apache2/apache2.pid",
		programs: []string{"apache2", "httpd"},
		control:  func(string) string { return "127.0.0.1:9403" },
		address:  true, controlHint: "for example 127.0.0.1:9403",
		driver: func(program, main, control string, m reload.Master) (reload.Proxy, error) {
			return reload.NewApache(reload.ApacheConfig{Main: main, Control: control, Program: program, Master: m})
		},
		child: func(program, main, pidFile, _ string) reload.SupervisorConfig {
			return reload.ApacheChild(program, main, pidFile)
		},
		running: func(pidFile string) reload.Master { return reload.ApachePidFile(pidFile) },
	}
}

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
		if _, err := os.Stat(dir + "/mod_proxy.so"); err == nil {
			return dir
		}
	}
	return ""
}
