package machines

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// A network is a Docker network that one cluster has for itself.
type network struct {
	name   string
	subnet netip.Prefix
}

// newNetwork takes the first subnet that Docker calls free, and begins to look at a place
// that depends on the process: test binaries that start together rarely meet.
func newNetwork(ctx context.Context, name string) (*network, error) {
	const subnets = 64
	var last error
	for i := range subnets {
		n := &network{name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 241, byte(os.Getpid()%subnets+i) % subnets, 0}), 24)}
		_, err := docker(ctx, "network", "create", "--subnet", n.subnet.String(), name)
		if err == nil {
			return n, nil
		}
		if last = err; !strings.Contains(err.Error(), "overlaps") {
			break
		}
	}
	return nil, fmt.Errorf("make a network for the machines: %w", last)
}

// address gives the i-th machine's. The first of a subnet is the host.
func (n *network) address(i int) netip.Addr {
	b := n.subnet.Addr().As4()
	b[3] = byte(11 + i)
	return netip.AddrFrom4(b)
}

func (n *network) remove(ctx context.Context) error {
	_, err := docker(ctx, "network", "rm", n.name)
	return err
}

// Cut takes the machine off the network. It goes on running.
func (m *Machine) Cut(ctx context.Context) error {
	_, err := docker(ctx, "network", "disconnect", "--force", m.network.name, m.container)
	return err
}

// Heal puts the machine back where it was.
func (m *Machine) Heal(ctx context.Context) error {
	_, err := docker(ctx, "network", "connect", "--ip", m.Address.String(), m.network.name, m.container)
	return err
}
