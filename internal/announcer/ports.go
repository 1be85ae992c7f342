package announcer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

const (
	// maxPorts bounds what one container can have announced: a range is quickly written.
	maxPorts = 1024
	// maxChoice bounds the text that chooses among them.
	maxChoice = 1 << 10
)

// A portRange is a part of the setting that chooses ports: "8080", "53/udp", "8000-8010".
type portRange struct {
	first, last uint16
	proto       string
}

func (p portRange) holds(o docker.Port) bool {
	return o.Proto == p.proto && p.first <= o.Number && o.Number <= p.last
}

// ValidatePorts checks what --port says.
func ValidatePorts(s string) error {
	_, err := parsePorts(s)
	return err
}

// parsePorts reads the setting that chooses among the container's ports: numbers or
// ranges with an optional protocol, separated by commas.
func parsePorts(s string) ([]portRange, error) {
	if len(s) > maxChoice {
		return nil, fmt.Errorf("choice of ports is longer than %d bytes", maxChoice)
	}
	var ranges []portRange
	for part := range strings.SplitSeq(s, ",") {
		numbers, proto, ok := strings.Cut(strings.TrimSpace(part), "/")
		if !ok {
			proto = "tcp"
		}
		from, to, several := strings.Cut(numbers, "-")
		if !several {
			to = from
		}
		p := portRange{proto: proto}
		var err error
		if p.first, err = discovery.ParsePort(from); err != nil {
			return nil, err
		}
		if p.last, err = discovery.ParsePort(to); err != nil {
			return nil, err
		}
		switch {
		case proto != "tcp" && proto != "udp":
			return nil, fmt.Errorf("protocol %.80q is neither tcp nor udp", proto)
		case p.last < p.first:
			return nil, fmt.Errorf("range %d-%d runs backwards", p.first, p.last)
		case p.last-p.first >= maxPorts:
			return nil, fmt.Errorf("range %d-%d holds more than %d ports", p.first, p.last, maxPorts)
		}
		ranges = append(ranges, p)
	}
	return ranges, nil
}

// ports chooses the ports to announce: those that were named, else every published one
// of its own, or with --internal every exposed one. The network is the container's, or
// that of the container whose network it uses.
func (r *Rules) ports(c, network *docker.Container, s *settings) ([]docker.Port, error) {
	ports, err := r.named(network, s)
	if ports == nil && err == nil {
		ports, err = r.unnamed(c, network, s)
	}
	if len(ports) > maxPorts {
		return nil, fmt.Errorf("it has %d ports to announce, which is more than %d: choose some with --port or the label rollcall.port", len(ports), maxPorts)
	}
	return ports, err
}

// named gives the ports that somebody chose; nil if nobody did.
func (r *Rules) named(network *docker.Container, s *settings) ([]docker.Port, error) {
	said, ok := s.get("port")
	if !ok {
		return nil, nil
	}
	ranges, err := parsePorts(said)
	if err != nil {
		return nil, fmt.Errorf("port to announce: %w", err)
	}
	// What was said of this container has to be true of it; what --port says of all, of some.
	ofThis := r.Flags["port"] == "" || r.Single
	var ports []docker.Port
	chosen := map[string]bool{}
	add := func(p docker.Port) {
		if !chosen[portName(p)] && len(ports) <= maxPorts {
			chosen[portName(p)] = true
			ports = append(ports, p)
		}
	}
	for _, wanted := range ranges {
		found := 0
		for _, p := range network.Ports {
			if wanted.holds(p) {
				add(p)
				found++
			}
		}
		switch {
		case !ofThis:
		case wanted.first == wanted.last && found == 0:
			add(docker.Port{Number: wanted.first, Proto: wanted.proto}) // that it has none is to be told
		case network.NetworkMode == hostNetwork:
			for n := int(wanted.first); n <= int(wanted.last); n++ {
				add(docker.Port{Number: uint16(n), Proto: wanted.proto})
			}
		case found == 0:
			return nil, fmt.Errorf("it has no %s port from %d to %d", wanted.proto, wanted.first, wanted.last)
		}
	}
	if len(ports) == 0 {
		return nil, fmt.Errorf("%w: it has none of the ports %s", errSilent, said)
	}
	return ports, nil
}

// unnamed gives the ports that are announced unless somebody chooses.
func (r *Rules) unnamed(c, network *docker.Container, s *settings) ([]docker.Port, error) {
	var ports []docker.Port
	for _, p := range network.Ports {
		if network.NetworkMode == hostNetwork {
			break // what an image exposes there need not be listened on
		}
		internal, err := r.settings(c, p).internal()
		if err != nil {
			return nil, err
		}
		// Of another's network, what the container itself exposes is its own.
		own := c == network || slices.ContainsFunc(c.Ports, func(o docker.Port) bool { return o.Number == p.Number && o.Proto == p.Proto })
		if own && (internal || len(p.Bindings) > 0) {
			ports = append(ports, p)
		}
	}
	switch {
	case len(ports) > 0:
		return ports, nil
	case network.NetworkMode == hostNetwork:
		err := errors.New("container is on the host's network: say which port, with the label rollcall.port, or --container and --port")
		return nil, r.unasked(c, s, err)
	case c != network:
		return nil, r.unasked(c, s, fmt.Errorf("container uses the network of container %.80q: say which port, with the label rollcall.port, or --container and --port", network.Name))
	}
	return nil, r.unasked(c, s, errors.New("container publishes no port: publish one (docker run -p), or use --internal"))
}

// unasked marks a reason as no news when the container never asked to be announced.
func (r *Rules) unasked(c *docker.Container, s *settings, err error) error {
	if r.Single || asks(c) || s.named() {
		return err
	}
	return fmt.Errorf("%w: %w", errSilent, err)
}
