package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/cli"
	"rollcall/internal/discovery"
)

// options are the flags of announcing.
type options struct {
	*connection
	lookup func(string) (string, bool)

	container, service, instance, port, address string
	network, version, layout, stateDir, listen  string
	internal, takeover, explicit                bool
	weight                                      int
	meta                                        []string
	ttl, drainTimeout                           time.Duration

	rules announcer.Rules
	kind  discovery.Layout
}

func (o *options) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.container, "container", "", "announce the container of this `NAME` alone; it need not exist yet (default: every container)")
	fs.StringVar(&o.service, "service", "", "`NAME` of the service (default: the label rollcall.service, else the image's name)")
	fs.StringVar(&o.instance, "instance", "", "`NAME` of the instance (default: the container's name, behind the node's unless --container is given)")
	fs.StringVar(&o.port, "port", "", "container `PORTS` to announce, as 8080 or 53/udp, separated by commas (default: the label rollcall.port, else every published one)")
	fs.StringVar(&o.address, "address", "", "this machine's `ADDRESS`, where published ports are reached (default: COREOS_PRIVATE_IPV4 or COREOS_PUBLIC_IPV4, else the route towards etcd)")
	fs.BoolVar(&o.internal, "internal", false, "announce the container's own address and port instead of the published ones")
	fs.StringVar(&o.network, "network", "", "the Docker `NETWORK` whose address is announced; implies --internal")
	fs.StringVar(&o.version, "service-version", "", "`TEXT` that is told as the version with each record (default: the label rollcall.version)")
	fs.IntVar(&o.weight, "weight", -1, "`SHARE` of the traffic, 0 to 256 (default: the label rollcall.weight, else 100)")
	fs.Lookup("weight").DefValue = "0" // -1 means "not said", which the help need not show
	fs.StringArrayVar(&o.meta, "meta", nil, "`KEY=VALUE` to be told with each record (repeatable)")
	fs.StringVar(&o.layout, "layout", string(discovery.LayoutJSON), "`LAYOUT` in which records are written: json, hostport or directory")
	fs.DurationVar(&o.ttl, "ttl", 15*time.Second, "`DURATION` for which records outlive a machine that is lost")
	fs.DurationVar(&o.drainTimeout, "drain-timeout", 30*time.Second, "`DURATION` for which a stop waits for the balancers at most")
	fs.BoolVar(&o.takeover, "takeover", false, "replace records that another announcer owns")
	fs.BoolVar(&o.explicit, "explicit", false, "announce only containers that carry a rollcall label or variable")
	fs.StringVar(&o.stateDir, "state-dir", "", "`DIRECTORY` in which the lease is remembered for the next start (default: $STATE_DIRECTORY, else /var/lib/rollcall, or ~/.local/state/rollcall unless root)")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:9401", "`ADDRESS` of /healthz, /readyz, /metrics and /status; empty for none")
}

// validate says everything that is wrong with the flags at once.
func (o *options) validate(cmd *cobra.Command) error {
	var m cli.Mistakes
	o.connection.validate(cmd, &m)
	var err error
	if o.kind, err = discovery.ParseLayout(o.layout); err != nil {
		m.Add("--layout", "say json, hostport or directory", err)
	}
	if o.ttl < 2*time.Second {
		m.Addf("--ttl", "a short TTL withdraws live containers when etcd hesitates; 15s is a good value", "%s is less than 2s", o.ttl)
	}
	if o.drainTimeout <= 0 {
		m.Addf("--drain-timeout", "for example 30s", "%s is not positive", o.drainTimeout)
	}
	if o.weight < -1 || o.weight > discovery.MaxWeight {
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
		m.Add("--port", "for example 8080, or 8080,53/udp", announcer.ValidatePorts(o.port))
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
	if o.listen != "" {
		m.Add("--listen", "for example 127.0.0.1:9401, or empty for none", checkListen(o.listen))
	}
	node, machine, err := identity()
	m.Add("", "", err)
	o.rules = announcer.Rules{
		Node: node, Machine: machine, Single: o.container != "", Explicit: o.explicit,
		Internal: o.internal, Network: o.network, Service: o.service, Instance: o.instance,
		Version: o.version, Ports: o.port, Weight: o.weight, Meta: meta,
	}
	o.findAddress(&m)
	if o.stateDir == "" {
		o.stateDir = o.defaultStateDir()
	}
	return m.Err()
}

// findAddress takes the address from the flag, the environment or the routes.
// Without one, containers can still be announced on their own addresses.
func (o *options) findAddress(m *cli.Mistakes) {
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
	addr, err := announcer.MachineAddress(o.etcd.Endpoints, func(name string) string {
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

// checkListen checks an address to listen on; port 0 means any that is free.
func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%.80q is not ADDRESS:PORT", s)
	}
	if port != "0" {
		_, err = discovery.ParsePort(port)
	}
	return err
}

func (o *options) defaultStateDir() string {
	if dir, ok := o.lookup("STATE_DIRECTORY"); ok && dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/var/lib/rollcall"
	}
	if dir, ok := o.lookup("XDG_STATE_HOME"); ok && dir != "" {
		return filepath.Join(dir, "rollcall")
	}
	home, _ := o.lookup("HOME")
	return filepath.Join(home, ".local", "state", "rollcall")
}

// stateFile is one per scope: the machine's announcer and each sidekick have a lease of their own.
func (o *options) stateFile() string {
	name := "announce.lease"
	if o.container != "" {
		name = "announce-" + filepath.Base(o.container) + ".lease"
	}
	return filepath.Join(o.stateDir, name)
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
