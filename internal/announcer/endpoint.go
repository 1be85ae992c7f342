package announcer

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"rollcall/internal/discovery/docker"
)

// A Candidate is an endpoint that was considered for a port.
type Candidate struct {
	Endpoint netip.AddrPort
	From     string // where it comes from: "published on 0.0.0.0:32768"
	Rejected string // why it is not announced; "" for the one that is
}

// endpoint works out where a port is reached: on the container's own address, or on
// this machine's where Docker publishes it. All that was considered is given with it.
func (r *Rules) endpoint(network *docker.Container, s *settings) (netip.AddrPort, []Candidate, error) {
	internal, err := s.internal()
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	var candidates []Candidate
	switch p := s.port; {
	case network.NetworkMode == hostNetwork:
		candidates, err = r.onHost(p)
	case internal:
		candidates, err = r.onNetwork(network, s)
	case len(p.Bindings) == 0 && network != s.container:
		err = fmt.Errorf("port %d is not published by container %.80q, whose network it uses", p.Number, network.Name)
	case len(p.Bindings) == 0:
		err = fmt.Errorf("port %d is not published: publish it (docker run -p), or use --internal", p.Number)
	default:
		candidates, err = r.published(p)
	}
	for _, c := range candidates {
		if err == nil && c.Rejected == "" {
			return c.Endpoint, candidates, nil
		}
	}
	return netip.AddrPort{}, candidates, err
}

// internal says whether the container's own address is to be announced.
func (s *settings) internal() (bool, error) {
	if _, _, from := s.find("network"); from != "" {
		return true, nil
	}
	v, ok := s.get("internal")
	if !ok {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("rollcall.internal %.80q is neither true nor false", v)
	}
	return b, nil
}

var errNoAddress = errors.New("this machine's address is not known: say it with --address")

func (r *Rules) onHost(p docker.Port) ([]Candidate, error) {
	if !r.Address.IsValid() {
		return nil, errNoAddress
	}
	return []Candidate{{Endpoint: netip.AddrPortFrom(r.Address, p.Number), From: "the host's network"}}, nil
}

// published judges where Docker publishes a port. Best is what other machines can reach
// for certain: this machine's address, by itself or as one of all of its family. Another
// address comes next, of the same family if there is one: whoever published it there meant it.
func (r *Rules) published(p docker.Port) ([]Candidate, error) {
	candidates := make([]Candidate, len(p.Bindings))
	best, rank := -1, 0
	unknown := false
	for n, b := range p.Bindings {
		c := &candidates[n]
		c.Endpoint, c.From = netip.AddrPortFrom(b.IP, b.Port), "published on "+netip.AddrPortFrom(b.IP, b.Port).String()
		family := r.Address.IsValid() && b.IP.Is4() == r.Address.Is4()
		err := UsableAddress(b.IP)
		value := 0
		switch {
		case b.IP.IsUnspecified() && family:
			c.Endpoint, value = netip.AddrPortFrom(r.Address, b.Port), 3
		case b.IP == r.Address:
			value = 3
		case b.IP.IsUnspecified() && !r.Address.IsValid():
			unknown, c.Rejected = true, errNoAddress.Error()
		case b.IP.IsUnspecified():
			c.Rejected = fmt.Sprintf("is of another address family than %s", r.Address)
		case err != nil:
			c.Rejected = err.Error()
		case r.Bridge != nil && r.Bridge(b.IP):
			c.Rejected = "is a Docker bridge's own: no other machine can reach it"
		case family:
			value = 2
		default:
			value = 1
		}
		if value > rank {
			best, rank = n, value
		}
	}
	var rejected []string
	for n := range candidates {
		c := &candidates[n]
		if c.Rejected != "" {
			rejected = append(rejected, fmt.Sprintf("%s, which %s", c.Endpoint, c.Rejected))
		} else if n != best {
			c.Rejected = fmt.Sprintf("%s is better, or as good", candidates[best].Endpoint)
		}
	}
	switch {
	case best >= 0:
		return candidates, nil
	case unknown:
		return candidates, errNoAddress
	}
	return candidates, fmt.Errorf("port %d is published only on %s", p.Number, strings.Join(rejected, "; "))
}

// onNetwork gives the container's own address; where it has several networks, one must be named.
func (r *Rules) onNetwork(network *docker.Container, s *settings) ([]Candidate, error) {
	wanted, _ := s.get("network")
	var names []string
	var candidates []Candidate
	usable := 0
	for _, n := range network.Networks {
		addr := n.IPv4
		if n.IPv6.IsValid() && (!addr.IsValid() || r.Address.Is6()) {
			addr = n.IPv6
		}
		names = append(names, n.Name)
		if !addr.IsValid() {
			continue
		}
		c := Candidate{Endpoint: netip.AddrPortFrom(addr, s.port.Number), From: "network " + n.Name}
		if wanted != "" && n.Name != wanted {
			c.Rejected = fmt.Sprintf("network %.80q was chosen", wanted)
		} else {
			usable++
		}
		candidates = append(candidates, c)
	}
	on := strings.Join(names, ", ")
	switch {
	case usable == 1:
		return candidates, nil
	case usable > 1:
		for n := range candidates {
			candidates[n].Rejected = "one of several networks, and none was chosen"
		}
		return candidates, fmt.Errorf("container is on several networks (%s): choose one with --network or the label rollcall.network", on)
	case wanted != "" && on != "":
		return candidates, fmt.Errorf("container has no address on network %.80q; it is on: %s", wanted, on)
	case wanted != "":
		return candidates, fmt.Errorf("container has no address on network %.80q, nor on any other", wanted)
	}
	return candidates, errors.New("container has no address of its own")
}
