package machines

import (
	"context"
	"fmt"
)

// Service is what the applications are announced as.
const Service = "website"

// Applications counts the instances of the service: web-1, web-2 on the first machine, and so on.
func (c *Cluster) Applications() int { return 2 * len(c.Machines) }

// Home gives the machine of an application, from 1.
func (c *Cluster) Home(application int) *Machine { return c.Machines[(application-1)/2] }

// Web names the unit of an application.
func Web(application int) string { return fmt.Sprintf("web@%d.service", application) }

// Sidekick names the unit that announces an application.
func Sidekick(application int) string { return fmt.Sprintf("announce@%d.service", application) }

// Container is what an application is called by its machine's Docker engine.
func Container(application int) string { return fmt.Sprintf("web-%d", application) }

// Instance is what an application is called in etcd, and by its own answers.
func (c *Cluster) Instance(application int) string {
	return c.Home(application).Name + "-" + Container(application)
}

// launch starts everything on the i-th machine, and has it start at each boot.
func (c *Cluster) launch(ctx context.Context, i int) error {
	m := c.Machines[i]
	if _, err := m.Systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	// Ready when most of the others are, too.
	units := []string{"etcd.service", "announce.service"}
	if i < len(Proxies()) {
		kind := Proxies()[i]
		if err := m.prepareProxy(ctx, kind); err != nil {
			return err
		}
		units = append(units, ProxyUnit(kind), "render-"+kind+".service")
	}
	applications := []string{Web(2*i + 1), Web(2*i + 2)}
	units = append(units, applications...)
	if _, err := m.Systemctl(ctx, append([]string{"enable", "--quiet"}, units...)...); err != nil {
		return err
	}
	// An application brings its sidekick along, but does not wait for it.
	_, err := m.Systemctl(ctx, append([]string{"start", Sidekick(2*i + 1), Sidekick(2*i + 2)}, units...)...)
	return err
}
