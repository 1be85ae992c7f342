package announcer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// maxRecords bounds what one container can have written, in bytes of values.
const maxRecords = 1 << 20

// hostNetwork is Docker's name for the machine's own network.
const hostNetwork = "host"

// Rules say what is announced of a container.
type Rules struct {
	Node    string // this machine's name
	Machine string // this machine's id

	// Address is where other machines reach published ports.
	Address netip.Addr
	// Bridge, if not nil, knows the addresses of this machine's container bridges.
	Bridge func(netip.Addr) bool

	// Single is true of one container by name. Its instance is called like it, without the node,
	// and it need not ask to be announced: it may ask not to be, of the machine's own announcer.
	Single   bool
	Explicit bool // announce only containers that ask for it

	// Flags holds what the operator said, by the setting's name: "service", "port",
	// "weight", "check.interval", …. It beats what a container says of itself.
	Flags map[string]string
	Meta  map[string]string

	Prefix string // as discovery.CleanPrefix gives it
	Layout discovery.Layout
}

// A Decision is what the rules came to for one port of a container: an instance to
// announce, with the record that says so, or the reason why not.
type Decision struct {
	Container  string // name
	Port       string // "80/tcp"; "" when it is about the whole container
	Considered []Candidate
	Settings   []Setting
	Dropped    []Setting // what was said in vain, with the reason for a value
	Instance   *discovery.Instance
	Record     discovery.Record
	Check      *check.Target // what has to answer before and while it is announced; nil: nothing
	Err        error
}

// errSilent marks a decision that is no news to anybody: the container is stopped,
// or publishes nothing and does not ask to be announced.
var errSilent = errors.New("nothing to announce")

// Why gives the reason for a decision as it is told to somebody who asked.
func Why(err error) string {
	return strings.TrimPrefix(err.Error(), errSilent.Error()+": ")
}

// Decide says what is to be announced of a container, port by port.
func (r *Rules) Decide(c *docker.Container) []Decision {
	s := r.settings(c, docker.Port{})
	unknown := misspelt(c)
	whole := func(err error) []Decision {
		return []Decision{{Container: c.Name, Settings: s.used, Dropped: unknown, Err: err}}
	}
	asked, explicit := asks(c), r.Explicit && !r.Single
	named := func(p docker.Port) bool { return asked || r.settings(c, p).named() }
	heeded := func(p docker.Port) bool { return !r.settings(c, p).ignored() }
	switch {
	case c.State != "running":
		return whole(fmt.Errorf("%w: container is %s", errSilent, c.State))
	case c.Health == "starting" || c.Health == "unhealthy":
		return whole(fmt.Errorf("%w: health is %s", errSilent, c.Health))
	case explicit && !named(docker.Port{}) && !slices.ContainsFunc(c.Ports, named):
		return whole(fmt.Errorf("%w: --explicit, and neither a rollcall label or variable nor SERVICE_NAME asks for it", errSilent))
	case s.ignored() && !slices.ContainsFunc(c.Ports, heeded):
		return whole(fmt.Errorf("%w: ignored, as its %s says", errSilent, s.source("ignore")))
	}
	network, err := networkOf(c)
	if err != nil {
		return whole(err)
	}
	ports, err := r.ports(c, network, s)
	if err != nil {
		return whole(err)
	}
	decisions := make([]Decision, len(ports))
	size := 0
	for n, p := range ports {
		own := r.settings(c, p)
		own.used = slices.Clone(s.used)
		d := &decisions[n]
		d.Container, d.Port = c.Name, portName(p)
		switch {
		case own.ignored():
			d.Err = fmt.Errorf("%w: port ignored, as its %s says", errSilent, own.source("ignore"))
		case explicit && !asked && !own.named():
			d.Err = fmt.Errorf("%w: --explicit, and no SERVICE_NAME asks for this port", errSilent)
		default:
			d.Err = r.decide(d, c, network, own, ports)
		}
		d.Settings, d.Dropped = own.used, append(own.legacy().Dropped, unknown...)
		if size += d.Record.Size(); size > maxRecords {
			return whole(fmt.Errorf("the records of its %d ports would be larger than %d bytes", len(ports), maxRecords))
		}
	}
	return decisions
}

// networkOf gives the container whose network a container uses: itself, in most cases.
func networkOf(c *docker.Container) (*docker.Container, error) {
	if !strings.HasPrefix(c.NetworkMode, "container:") {
		return c, nil
	}
	switch n := c.Shares; {
	case n == nil:
		return nil, errors.New("the container whose network it uses is not there any more")
	case strings.HasPrefix(n.NetworkMode, "container:"):
		return nil, fmt.Errorf("it uses the network of container %.80q, which uses that of another: name that one instead", n.Name)
	case n.State != "running":
		return nil, fmt.Errorf("it uses the network of container %.80q, which is %s", n.Name, n.State)
	case n.Started.After(c.Started):
		// Docker gives a container that starts again a new network, and leaves the other in the
		// old one. Their starts are all there is to tell by, so a clock that was set back between
		// them deceives it.
		return nil, fmt.Errorf("it uses the network of container %.80q, which has been restarted since: restart this one too", n.Name)
	default:
		return n, nil
	}
}

// decide works out everything about one port.
func (r *Rules) decide(d *Decision, c, network *docker.Container, s *settings, ports []docker.Port) error {
	i, err := r.instance(c, s, ports)
	if err != nil {
		return err
	}
	endpoint, considered, err := r.endpoint(network, s)
	d.Considered = considered
	if err != nil {
		return err
	}
	i.Host, i.Port = endpoint.Addr().String(), endpoint.Port()
	if d.Record, err = discovery.Encode(r.Prefix, r.Layout, i); err != nil {
		return err
	}
	if d.Check, err = r.check(network, s, endpoint); err != nil {
		return err
	}
	d.Instance = i
	return nil
}

func portName(p docker.Port) string { return fmt.Sprintf("%d/%s", p.Number, p.Proto) }
