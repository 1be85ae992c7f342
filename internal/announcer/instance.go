package announcer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// instance works out who the port's instance is and what is told of it, all but where it is.
func (r *Rules) instance(c *docker.Container, s *settings, ports []docker.Port) (*discovery.Instance, error) {
	i := &discovery.Instance{
		Proto: s.port.Proto, Node: r.Node, Machine: r.Machine, Container: c.ID, Started: c.Started,
		Weight: discovery.DefaultWeight, Meta: s.meta(),
	}
	several := len(ports) > 1
	var err error
	if i.Service, err = serviceName(c, s, several); err != nil {
		return nil, err
	}
	i.Name = r.instanceName(c, s, ports)
	i.Version, _ = s.get("version")
	i.Path, _ = s.get("path")
	if hosts, ok := s.get("host"); ok {
		i.Hosts = list(hosts)
	}
	if w, ok := s.get("weight"); ok {
		if i.Weight, err = strconv.Atoi(w); err != nil {
			return nil, fmt.Errorf("rollcall.weight %.80q is not a number from 0 to %d", w, discovery.MaxWeight)
		}
	}
	return i, nil
}

func serviceName(c *docker.Container, s *settings, several bool) (string, error) {
	name, own, from := s.find("service")
	if name == "" {
		name, from = serviceOfImage(c.Image), "image "+c.Image
	}
	if name == "" {
		return "", fmt.Errorf("image %.80q gives no name for a service: say one with --service or the label rollcall.service", c.Image)
	}
	if several && !own {
		name += "-" + strconv.Itoa(int(s.port.Number))
	}
	s.use("service", name, from)
	return name, nil
}

func (r *Rules) instanceName(c *docker.Container, s *settings, ports []docker.Port) string {
	name, own, from := s.find("instance")
	if name == "" {
		name, from = strings.ToLower(c.Name), "container's name"
		if !r.Single {
			name, from = strings.ToLower(r.Node)+"-"+name, "node's and container's name"
		}
	}
	number := s.port.Number
	twin := slices.ContainsFunc(ports, func(o docker.Port) bool { return o.Number == number && o.Proto != s.port.Proto })
	unnamed := len(ports) > 1 && !own
	if unnamed {
		name += "-" + strconv.Itoa(int(number))
	}
	switch {
	case s.port.Proto != "udp" || strings.HasSuffix(name, ":udp"):
	case r.Layout == discovery.LayoutHostPort:
		name += ":udp" // all that this layout has to say it with
	case unnamed || twin:
		name += "-udp"
	}
	s.use("instance", name, from)
	return name
}

// serviceOfImage is registrator's default for a service's name: the image's last
// path part without tag and digest. An image that was started by its id has no name.
func serviceOfImage(image string) string {
	if strings.HasPrefix(image, "sha256:") {
		return ""
	}
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	return strings.ToLower(image)
}
