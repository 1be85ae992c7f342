package announcer

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/check"
	"rollcall/internal/discovery/docker"
)

// check works out what has to answer for a port; nil when nothing needs to.
func (r *Rules) check(network *docker.Container, s *settings, endpoint netip.AddrPort) (*check.Target, error) {
	url, ok := s.get("check")
	if !ok {
		return nil, nil
	}
	spec, err := check.Parse(url)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.source("check"), err)
	}
	spec.Interval, spec.Timeout = check.DefaultInterval, check.DefaultTimeout
	spec.Rise, spec.Fall = check.DefaultRise, check.DefaultFall
	if err := s.timing(&spec); err != nil {
		return nil, err
	}
	target := &check.Target{Spec: spec, Addr: endpoint}
	if spec.Port == 0 && s.port.Proto != "tcp" {
		return nil, fmt.Errorf("%s, %s: port %s cannot be asked that way: name a tcp port in it", s.source("check"), spec, portName(s.port))
	}
	if spec.Port != 0 && (spec.Port != s.port.Number || s.port.Proto != "tcp") {
		other := docker.Port{Number: spec.Port, Proto: "tcp"}
		for _, p := range network.Ports {
			if p.Number == other.Number && p.Proto == other.Proto {
				other = p
			}
		}
		if target.Addr, _, err = r.endpoint(network, r.settings(s.container, other)); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", s.source("check"), spec, err)
		}
	}
	return target, nil
}

// timing reads how often and how patiently a check is made.
func (s *settings) timing(spec *check.Spec) (err error) {
	duration := func(name string, d *time.Duration) {
		if v, ok := s.get(name); ok && err == nil {
			if *d, err = time.ParseDuration(v); err != nil {
				err = fmt.Errorf("%s %.80q is not a duration such as 2s", s.source(name), v)
			}
		}
	}
	number := func(name string, n *int) {
		if v, ok := s.get(name); ok && err == nil {
			if *n, err = strconv.Atoi(v); err != nil {
				err = fmt.Errorf("%s %.80q is not a number", s.source(name), v)
			}
		}
	}
	duration("check.interval", &spec.Interval)
	duration("check.timeout", &spec.Timeout)
	number("check.rise", &spec.Rise)
	number("check.fall", &spec.Fall)
	if err != nil {
		return err
	}
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("%s: %s", s.source("check"), strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// rise is how often in a row a container's own HEALTHCHECK has to succeed to be believed
// when it goes to and fro.
func (r *Rules) rise(c *docker.Container) int {
	v, _, _ := r.settings(c, docker.Port{}).find("check.rise")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return min(n, 100)
	}
	return check.DefaultRise
}
