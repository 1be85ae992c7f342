package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/announcer"
	"rollcall/internal/check"
	"rollcall/internal/cli"
	"rollcall/internal/discovery"
)

// ruleOptions are the flags that decide what is announced: those of announcing, and of
// explaining what would be.
type ruleOptions struct {
	lookup func(string) (string, bool)

	container, service, instance, port, address string
	network, version, layout                    string
	internal, explicit                          bool
	weight                                      int
	meta                                        []string
	check                                       string
	checkInterval, checkTimeout                 time.Duration
	checkRise, checkFall                        int

	rules announcer.Rules
}

func (o *ruleOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.container, "container", "", "announce the container of this `NAME` alone; it need not exist yet (default: every container)")
	fs.StringVar(&o.service, "service", "", "`NAME` of the service (default: the label rollcall.service, else the image's name)")
	fs.StringVar(&o.instance, "instance", "", "`NAME` of the instance (default: the container's name, behind the node's unless --container is given)")
	fs.StringVar(&o.port, "port", "", "container `PORTS` to announce, as 8080, 53/udp or 8000-8010, separated by commas (default: the label rollcall.port, else every published one)")
	fs.StringVar(&o.address, "address", "", "this machine's `ADDRESS`, where published ports are reached (default: COREOS_PRIVATE_IPV4 or COREOS_PUBLIC_IPV4, else the route towards etcd)")
	fs.BoolVar(&o.internal, "internal", false, "announce the container's own address and port instead of the published ones")
	fs.StringVar(&o.network, "network", "", "the Docker `NETWORK` whose address is announced; implies --internal")
	fs.StringVar(&o.version, "service-version", "", "`TEXT` that is told as the version with each record (default: the label rollcall.version)")
	fs.IntVar(&o.weight, "weight", discovery.DefaultWeight, "`SHARE` of the traffic, 0 to 256; beats the label rollcall.weight")
	fs.StringArrayVar(&o.meta, "meta", nil, "`KEY=VALUE` to be told with each record (repeatable)")
	fs.StringVar(&o.layout, "layout", string(discovery.LayoutJSON), "`LAYOUT` in which records are written: json, hostport or directory")
	fs.BoolVar(&o.explicit, "explicit", false, "announce only containers that ask for it by a rollcall label or variable, or by SERVICE_NAME")
	fs.StringVar(&o.check, "check", "", "announce what answers at this `URL`: http://:8080/healthz, https:///up or tcp://:5432, with a container port or none for the announced one (default: the label rollcall.check)")
	fs.DurationVar(&o.checkInterval, "check-interval", check.DefaultInterval, "`DURATION` between checks")
	fs.DurationVar(&o.checkTimeout, "check-timeout", check.DefaultTimeout, "`DURATION` in which a check has to be answered")
	fs.IntVar(&o.checkRise, "check-rise", check.DefaultRise, "`NUMBER` of successes in a row after which a container that failed is announced again (of its HEALTHCHECK: only if that goes to and fro)")
	fs.IntVar(&o.checkFall, "check-fall", check.DefaultFall, "`NUMBER` of failures of --check in a row after which a container is withdrawn")
}

// said gives what was said by flags or their variables, by the setting's name.
func (o *ruleOptions) said(fs *pflag.FlagSet) map[string]string {
	said := map[string]string{}
	for setting, flag := range map[string]string{
		"service": "service", "instance": "instance", "port": "port", "internal": "internal", "network": "network",
		"version": "service-version", "weight": "weight", "check": "check", "check.interval": "check-interval",
		"check.timeout": "check-timeout", "check.rise": "check-rise", "check.fall": "check-fall",
	} {
		if fs.Changed(flag) {
			said[setting] = fs.Lookup(flag).Value.String()
		}
	}
	return said
}

// validate says what is wrong with the flags, and makes the rules of them.
func (o *ruleOptions) validate(cmd *cobra.Command, c *connection, m *cli.Mistakes) {
	layout, err := discovery.ParseLayout(o.layout)
	m.Add("--layout", "say json, hostport or directory", err)
	if o.weight < 0 || o.weight > discovery.MaxWeight {
		m.Addf("--weight", "100 is the usual share", "%d is not from 0 to %d", o.weight, discovery.MaxWeight)
	}
	if o.service != "" {
		m.Add("--service", "for example website", discovery.ValidateName(o.service))
	}
	if o.instance != "" {
		m.Add("--instance", "for example web-1", discovery.ValidateInstanceName(o.instance))
		if o.container == "" {
			m.Addf("--instance", "name the container with --container, or leave --instance out", "all containers of the machine would have one name")
		}
	}
	if o.port != "" {
		m.Add("--port", "for example 8080, or 8080,53/udp, or 8000-8010", announcer.ValidatePorts(o.port))
	}
	meta := map[string]string{}
	for _, kv := range o.meta {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			m.Addf("--meta", "for example --meta rack=b12", "%.80q is not KEY=VALUE", kv)
			continue
		}
		meta[k] = v
	}
	m.Add("--service-version", "one printable line of at most 256 bytes", refusal(discovery.Instance{Version: o.version}))
	m.Add("--meta", "for example --meta rack=b12", refusal(discovery.Instance{Meta: meta}))
	if o.container != "" && !isContainerName(o.container) {
		m.Addf("--container", "`docker ps` shows the names", "%.80q is not a container's name", o.container)
	}
	o.validateCheck(m)
	node, machine, err := identity()
	m.Add("", "", err)
	o.rules = announcer.Rules{
		Node: node, Machine: machine, Bridge: announcer.Bridges(), Single: o.container != "", Explicit: o.explicit,
		Flags: o.said(cmd.Flags()), Meta: meta, Prefix: c.prefix, Layout: layout,
	}
	o.findAddress(c, m)
}

func (o *ruleOptions) validateCheck(m *cli.Mistakes) {
	spec := check.Spec{Scheme: "tcp"}
	if o.check != "" {
		var err error
		if spec, err = check.Parse(o.check); err != nil {
			m.Add("--check", "the port is the container's; without one, what is announced is asked", err)
			return
		}
	}
	spec.Interval, spec.Timeout, spec.Rise, spec.Fall = o.checkInterval, o.checkTimeout, o.checkRise, o.checkFall
	m.Add("--check-interval, --check-timeout, --check-rise, --check-fall", "2s, 1s, 2 and 3 are good values", spec.Validate())
}

// findAddress takes the address from the flag, the environment or the routes.
// Without one, containers can still be announced on their own addresses.
func (o *ruleOptions) findAddress(c *connection, m *cli.Mistakes) {
	if o.address != "" {
		addr, err := netip.ParseAddr(o.address)
		if err != nil {
			m.Addf("--address", "an IP address of this machine, without a port", "%.80q is not an IP address", o.address)
			return
		}
		if err := announcer.UsableAddress(addr); err != nil {
			m.Addf("--address", "the address under which the balancers reach this machine; `ip addr` shows them", "%s %w", addr, err)
		}
		o.rules.Address = addr.Unmap()
		return
	}
	addr, err := announcer.MachineAddress(c.etcd.Endpoints, func(name string) string {
		v, _ := o.lookup(name)
		return v
	})
	if err != nil && !o.internal && o.network == "" {
		m.Add("--address", "say it: --address 10.0.0.5", err)
	}
	o.rules.Address = addr
}

// refusal says why no record could hold what is set of the instance.
func refusal(i discovery.Instance) error {
	i.Service, i.Name, i.Host, i.Port, i.Proto = "s", "i", "192.0.2.1", 1, "tcp"
	_, err := discovery.Encode(discovery.DefaultPrefix, discovery.LayoutJSON, &i)
	if inner := errors.Unwrap(err); inner != nil {
		return inner // without the made-up names
	}
	return err
}

// isContainerName says whether Docker would give a container this name.
func isContainerName(s string) bool {
	return strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-") == "" && !strings.ContainsRune("_.-", rune(s[0]))
}

// identity gives this machine's name, less its domain, and its id.
func identity() (node, machine string, err error) {
	node, err = os.Hostname()
	if err != nil {
		return "", "", fmt.Errorf("this machine's name: %w", err)
	}
	node, _, _ = strings.Cut(node, ".")
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", "", fmt.Errorf("this machine's id: %w", err)
	}
	return strings.ToLower(node), strings.TrimSpace(string(id)), nil
}
