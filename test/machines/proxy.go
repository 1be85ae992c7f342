package machines

import "context"

// Proxies are the kinds of web servers; the i-th machine has the i-th of them on port 80, run
// by its own Debian unit and kept by render-KIND.service.
func Proxies() []string { return []string{"nginx", "apache", "haproxy"} }

// ProxyUnit is the unit of the web server itself.
func ProxyUnit(kind string) string {
	if kind == "apache" {
		return "apache2.service"
	}
	return kind + ".service"
}

// Proxy gives the machine that has a kind of web server; nil if none has.
func (c *Cluster) Proxy(kind string) *Machine {
	for i, k := range Proxies() {
		if k == kind && i < len(c.Machines) {
			return c.Machines[i]
		}
	}
	return nil
}

// prepareProxy makes the server ready to be kept by render, as units/README.md says.
func (m *Machine) prepareProxy(ctx context.Context, kind string) error {
	switch kind {
	case "nginx":
		_, err := m.Run(ctx, "rm", "/etc/nginx/sites-enabled/default")
		return err
	case "apache":
		// A child that is let go because others suffice closes its kept connections, and so does one
		// whose threads are all busy; requests that are just being written to them are lost. So there
		// are as many as ever, and more threads in each than clients.
		const workers = "StartServers 2\nServerLimit 8\nThreadLimit 512\nThreadsPerChild 512\n" +
			"MinSpareThreads 512\nMaxSpareThreads 2048\nMaxRequestWorkers 2048\n"
		if err := m.Write(ctx, "/etc/apache2/mods-available/mpm_event.conf", "644", workers); err != nil {
			return err
		}
		_, err := m.Run(ctx, "a2dissite", "-q", "000-default")
		return err
	default:
		if _, err := m.Run(ctx, "touch", "/etc/haproxy/rollcall.cfg"); err != nil {
			return err
		}
		return m.Write(ctx, "/etc/default/haproxy", "644", `EXTRAOPTS="-S /run/haproxy-master.sock -f /etc/haproxy/rollcall.cfg"`+"\n")
	}
}

// RenderUnit is the unit of the renderer that keeps a kind of web server.
func RenderUnit(kind string) string { return "render-" + kind + ".service" }
