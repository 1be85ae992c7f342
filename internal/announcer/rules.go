package announcer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// Rules say what is announced of a container. They hold what the operator said by
// flags, which beats what a container says of itself.
type Rules struct {
	Node    string // this machine's name
	Machine string // this machine's id

	// Address is where other machines reach published ports.
	Address netip.Addr

	Single   bool // one container by name: its instance is called like it, without the node
	Explicit bool // announce only containers that carry a rollcall label or variable
	Internal bool // announce the container's own address and port
	Network  string

	Service, Instance, Version string
	Ports                      string // container ports, comma-separated; "" for all
	Weight                     int    // -1 when not said
	Meta                       map[string]string
}

// A Decision is what the rules came to for one port of a container: an instance
// to announce, or the reason why not.
type Decision struct {
	Container string // name
	Port      string // "80/tcp"; "" when it is about the whole container
	Instance  *discovery.Instance
	Err       error
}

// errSilent marks a decision that is no news to anybody: the container is stopped,
// or publishes nothing and does not ask to be announced.
var errSilent = errors.New("nothing to announce")

// Decide says what is to be announced of a container, port by port.
func (r *Rules) Decide(c *docker.Container) []Decision {
	s := settings{c}
	whole := func(err error) []Decision { return []Decision{{Container: c.Name, Err: err}} }
	switch {
	case c.State != "running":
		return whole(fmt.Errorf("%w: container is %s", errSilent, c.State))
	case c.Health == "starting" || c.Health == "unhealthy":
		return whole(fmt.Errorf("%w: health is %s", errSilent, c.Health))
	case r.Explicit && !s.explicit():
		return whole(fmt.Errorf("%w: no rollcall label, and --explicit asks for one", errSilent))
	case s.ignored(0) && !slices.ContainsFunc(c.Ports, func(p docker.Port) bool { return !s.ignored(p.Number) }):
		return whole(fmt.Errorf("%w: ignored by its own label", errSilent))
	}
	ports, err := r.ports(c, s)
	if err != nil {
		return whole(err)
	}
	var decisions []Decision
	for _, p := range ports {
		d := Decision{Container: c.Name, Port: fmt.Sprintf("%d/%s", p.Number, p.Proto)}
		if s.ignored(p.Number) {
			d.Err = fmt.Errorf("%w: port ignored by its own label", errSilent)
		} else {
			d.Instance, d.Err = r.instance(c, s, p, ports)
		}
		decisions = append(decisions, d)
	}
	return decisions
}

// ports chooses the ports to announce: those that were named, else every
// published one, or with --internal every exposed one.
func (r *Rules) ports(c *docker.Container, s settings) ([]docker.Port, error) {
	named := r.Ports
	if named == "" {
		named, _ = s.get("port", 0)
	}
	known := map[string]docker.Port{}
	for _, p := range c.Ports {
		known[fmt.Sprintf("%d/%s", p.Number, p.Proto)] = p
	}
	if named != "" {
		wanted, err := parsePorts(named)
		if err != nil {
			return nil, fmt.Errorf("port to announce: %w", err)
		}
		var ports []docker.Port
		for _, p := range wanted {
			k, has := known[fmt.Sprintf("%d/%s", p.Number, p.Proto)]
			switch {
			case has:
				ports = append(ports, k)
			case r.Ports == "" || r.Single:
				ports = append(ports, p) // it was said of this container; that it has none is to be told
			}
		}
		if len(ports) == 0 {
			return nil, fmt.Errorf("%w: it has none of the ports %s", errSilent, r.Ports)
		}
		return ports, nil
	}
	if c.NetworkMode == "host" {
		return nil, errors.New("container is on the host's network: say which port, with --port or the label rollcall.port")
	}
	var ports []docker.Port
	for _, p := range c.Ports {
		internal, err := r.internal(s, p)
		if err != nil {
			return nil, err
		}
		if internal || len(p.Bindings) > 0 {
			ports = append(ports, p)
		}
	}
	if len(ports) == 0 {
		err := errors.New("container publishes no port: publish one (docker run -p), or use --internal")
		if !s.explicit() && !r.Single {
			err = fmt.Errorf("%w: it publishes no port", errSilent)
		}
		return nil, err
	}
	return ports, nil
}

func (r *Rules) internal(s settings, p docker.Port) (bool, error) {
	internal, err := s.bool("internal", p.Number)
	_, network := s.get("network", p.Number)
	return r.Internal || r.Network != "" || internal || network, err
}

// instance works out everything that is announced of one of the container's ports.
func (r *Rules) instance(c *docker.Container, s settings, p docker.Port, ports []docker.Port) (*discovery.Instance, error) {
	several := len(ports) > 1
	twin := slices.ContainsFunc(ports, func(o docker.Port) bool { return o.Number == p.Number && o.Proto != p.Proto })
	i := &discovery.Instance{
		Service: r.Service, Name: r.Instance, Version: r.Version, Weight: r.Weight, Proto: p.Proto,
		Node: r.Node, Machine: r.Machine, Container: c.ID, Started: c.Started,
	}
	text := func(field *string, name string) {
		if *field == "" {
			*field, _ = s.get(name, p.Number)
		}
	}
	text(&i.Service, "service")
	if i.Service == "" {
		i.Service = serviceOfImage(c.Image)
	}
	if i.Service == "" {
		return nil, fmt.Errorf("image %.80q gives no name for a service: say one with --service or the label rollcall.service", c.Image)
	}
	if several && (r.Service != "" || !s.own("service", p.Number)) {
		i.Service += "-" + strconv.Itoa(int(p.Number))
	}
	text(&i.Name, "instance")
	if i.Name == "" {
		i.Name = strings.ToLower(c.Name)
		if !r.Single {
			i.Name = strings.ToLower(r.Node) + "-" + i.Name
		}
	}
	unnamed := several && (r.Instance != "" || !s.own("instance", p.Number))
	if unnamed {
		i.Name += "-" + strconv.Itoa(int(p.Number))
	}
	if p.Proto == "udp" && (unnamed || twin) {
		i.Name += "-udp"
	}
	text(&i.Version, "version")
	text(&i.Path, "path")
	if hosts, ok := s.get("host", p.Number); ok {
		i.Hosts = list(hosts)
	}
	if i.Weight < 0 {
		i.Weight = discovery.DefaultWeight
		if w, ok := s.get("weight", p.Number); ok {
			n, err := strconv.Atoi(w)
			if err != nil {
				return nil, fmt.Errorf("rollcall.weight %.80q is not a number from 0 to %d", w, discovery.MaxWeight)
			}
			i.Weight = n
		}
	}
	i.Meta = merged(s.meta(p.Number), r.Meta)
	endpoint, err := r.endpoint(c, s, p)
	if err != nil {
		return nil, err
	}
	i.Host, i.Port = endpoint.Addr().String(), endpoint.Port()
	return i, nil
}
