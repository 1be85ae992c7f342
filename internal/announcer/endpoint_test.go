package announcer

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery/docker"
)

func address(s string) func(*Rules) {
	return func(r *Rules) { r.Address = netip.MustParseAddr(s) }
}

func TestDecidePublished(t *testing.T) {
	at := func(endpoint string) []string { return []string{"80/tcp: nginx/core-01-web1 " + endpoint + " tcp"} }
	only := func(where string) []string { return []string{"80/tcp: port 80 is published only on " + where} }
	bound := func(on ...string) says { return says{ports(published(80, "tcp", on...))} }
	const v6 = "2001:db8::5"
	testDecide(t, map[string]decideCase{
		"everywhere":                  {nil, bound("0.0.0.0:1", "[::]:2"), at("10.0.0.5:1")},
		"everywhere, IPv6 machine":    {flags{address(v6)}, bound("0.0.0.0:1", "[::]:2"), at("[2001:db8::5]:2")},
		"own address":                 {nil, bound("10.0.0.5:1"), at("10.0.0.5:1")},
		"own address, not loopback":   {nil, bound("10.0.0.5:2", "127.0.0.1:1"), at("10.0.0.5:2")},
		"another address":             {nil, bound("10.0.0.9:1"), at("10.0.0.9:1")},
		"own rather than another":     {nil, bound("10.0.0.4:1", "10.0.0.5:2"), at("10.0.0.5:2")},
		"another of the same family":  {flags{address(v6)}, bound("10.0.0.9:1", "[2001:db8::9]:2"), at("[2001:db8::9]:2")},
		"another of the first family": {nil, bound("10.0.0.9:1", "[2001:db8::9]:2"), at("10.0.0.9:1")},
		"loopback":                    {nil, bound("127.0.0.1:1", "[::1]:2"), only("127.0.0.1:1, which is loopback: no other machine can reach it; [::1]:2, which is loopback: no other machine can reach it")},
		"link-local":                  {nil, bound("169.254.0.1:1"), only("169.254.0.1:1, which is link-local: only this network segment can reach it")},
		"other family":                {nil, bound("[::]:1"), only("[::]:1, which is of another address family than 10.0.0.5")},
		"other family, IPv6 machine":  {flags{address(v6)}, bound("0.0.0.0:1"), only("0.0.0.0:1, which is of another address family than 2001:db8::5")},
	})
}

func TestDecideNetworks(t *testing.T) {
	back, front := on("back", "172.20.0.2", "fd00::2"), on("front", "172.21.0.2", "")
	named := func(n string) func(*Rules) { return flag("network", n) }
	at := func(endpoint string) []string { return []string{"80/tcp: nginx/core-01-web1 " + endpoint + " tcp"} }
	fails := func(why string) []string { return []string{"80/tcp: " + why} }
	both := network("back", back, front)
	testDecide(t, map[string]decideCase{
		"internal by flag":    {flags{internal}, nil, at("172.17.0.2:80")},
		"internal by label":   {nil, says{label("rollcall.internal", "true")}, at("172.17.0.2:80")},
		"not published":       {flags{internal}, says{ports(published(80, "tcp"))}, at("172.17.0.2:80")},
		"one port of several": {nil, says{ports(published(80, "tcp"), published(81, "tcp", "0.0.0.0:1")), label("rollcall.80.internal", "1", "rollcall.port", "80")}, at("172.17.0.2:80")},
		"several networks":    {flags{internal}, says{both}, fails("container is on several networks (back, front): choose one with --network or the label rollcall.network")},
		"chosen by flag":      {flags{named("front")}, says{both, label("rollcall.network", "back")}, at("172.21.0.2:80")},
		"chosen by label":     {nil, says{both, label("rollcall.network", "back")}, at("172.20.0.2:80")},
		"chosen by no label":  {nil, says{both, label("rollcall.network", "")}, at("10.0.0.5:32768")},
		"IPv6 machine":        {flags{address("2001:db8::5"), named("back")}, says{both}, at("[fd00::2]:80")},
		"IPv6 machine, IPv4":  {flags{address("2001:db8::5"), named("front")}, says{both}, at("172.21.0.2:80")},
		"IPv6 only":           {flags{internal}, says{network("six", on("six", "", "fd00::3"))}, at("[fd00::3]:80")},
		"no such network":     {flags{named("side")}, says{both}, fails(`container has no address on network "side"; it is on: back, front`)},
		"no network at all":   {flags{named("side")}, says{network("none")}, fails(`container has no address on network "side", nor on any other`)},
		"no address":          {flags{internal}, says{network("none", on("none", "", ""))}, fails("container has no address of its own")},
		"host network": {
			nil,
			says{network("host"), ports(published(80, "tcp"))},
			[]string{": nothing to announce: container is on the host's network: say which port, with the label rollcall.port, or --container and --port"},
		},
		"host network, with a port":   {nil, says{network("host"), ports(), label("rollcall.port", "80")}, at("10.0.0.5:80")},
		"host network, also internal": {flags{internal}, says{network("host"), ports(), label("rollcall.port", "80")}, at("10.0.0.5:80")},
	})
}

// A container that was started with --network container:vpn has no ports and addresses of
// its own: those of the other are its.
func TestDecideSharedNetworks(t *testing.T) {
	shares := func(change ...func(*docker.Container)) func(*docker.Container) {
		return func(c *docker.Container) {
			other := container(append(says{called("vpn"), ports(published(80, "tcp", "0.0.0.0:1"), published(90, "tcp", "0.0.0.0:2"))}, change...)...)
			c.NetworkMode, c.Networks, c.Shares = "container:4f0d", nil, &other
		}
	}
	exposes := ports(published(80, "tcp"))
	at := func(endpoint string) []string { return []string{"80/tcp: nginx/core-01-web1 " + endpoint + " tcp"} }
	fails := func(why string) []string { return []string{": " + why} }
	testDecide(t, map[string]decideCase{
		"what it exposes":    {nil, says{shares(), exposes}, at("10.0.0.5:1")},
		"what it names":      {nil, says{shares(), ports(), label("rollcall.port", "80")}, at("10.0.0.5:1")},
		"by flag":            {flags{flag("port", "80")}, says{shares(), ports()}, at("10.0.0.5:1")},
		"not published":      {nil, says{shares(), ports(), label("rollcall.port", "99")}, []string{`99/tcp: port 99 is not published by container "vpn", whose network it uses`}},
		"internal":           {flags{internal}, says{shares(), exposes}, at("172.17.0.2:80")},
		"says nothing":       {nil, says{shares(), ports()}, fails(`nothing to announce: container uses the network of container "vpn": say which port, with the label rollcall.port, or --container and --port`)},
		"the host's":         {nil, says{shares(network("host")), exposes, label("rollcall.port", "80")}, at("10.0.0.5:80")},
		"labels are its own": {nil, says{shares(label("rollcall.service", "vpn")), exposes, label("rollcall.service", "web")}, []string{"80/tcp: web/core-01-web1 10.0.0.5:1 tcp"}},
		"gone":               {nil, says{network("container:4f0d"), exposes}, fails("the container whose network it uses is not there any more")},
		"shares itself":      {nil, says{shares(network("container:4f0e")), exposes}, fails(`it uses the network of container "vpn", which uses that of another: name that one instead`)},
		"stopped":            {nil, says{shares(func(c *docker.Container) { c.State = "exited" }), exposes}, fails(`it uses the network of container "vpn", which is exited`)},
		"restarted": {
			nil,
			says{shares(func(c *docker.Container) { c.Started = noon.Add(1) }), exposes},
			fails(`it uses the network of container "vpn", which has been restarted since: restart this one too`),
		},
	})
}

func TestConsidered(t *testing.T) {
	r := rules(func(r *Rules) { r.Bridge = func(a netip.Addr) bool { return a == netip.MustParseAddr("172.17.0.1") } })
	for name, tc := range map[string]struct {
		container docker.Container
		want      []string
	}{
		"published in several places": {
			container(ports(published(80, "tcp", "127.0.0.1:1", "0.0.0.0:2", "172.17.0.1:3", "192.0.2.9:4", "[::]:5"))),
			[]string{
				"127.0.0.1:1, published on 127.0.0.1:1: is loopback: no other machine can reach it",
				"10.0.0.5:2, published on 0.0.0.0:2: ",
				"172.17.0.1:3, published on 172.17.0.1:3: is a Docker bridge's own: no other machine can reach it",
				"192.0.2.9:4, published on 192.0.2.9:4: 10.0.0.5:2 is better, or as good",
				"[::]:5, published on [::]:5: is of another address family than 10.0.0.5",
			},
		},
		"on a bridge alone": {
			container(ports(published(80, "tcp", "172.17.0.1:3"))),
			[]string{"172.17.0.1:3, published on 172.17.0.1:3: is a Docker bridge's own: no other machine can reach it"},
		},
		"on the host": {container(network("host"), label("rollcall.port", "80")), []string{"10.0.0.5:80, the host's network: "}},
		"several networks": {
			container(network("a", on("a", "172.20.0.2", ""), on("b", "172.21.0.2", "")), label("rollcall.internal", "true")),
			[]string{
				"172.20.0.2:80, network a: one of several networks, and none was chosen",
				"172.21.0.2:80, network b: one of several networks, and none was chosen",
			},
		},
		"chosen network": {
			container(network("a", on("a", "172.20.0.2", ""), on("b", "172.21.0.2", "")), label("rollcall.network", "b")),
			[]string{`172.20.0.2:80, network a: network "b" was chosen`, "172.21.0.2:80, network b: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range r.Decide(&tc.container) {
				for _, c := range d.Considered {
					got = append(got, fmt.Sprintf("%s, %s: %s", c.Endpoint, c.From, c.Rejected))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("considered (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMachineAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		env       map[string]string
		want, err string
	}{
		"private":     {map[string]string{"COREOS_PRIVATE_IPV4": "10.0.0.5", "COREOS_PUBLIC_IPV4": "192.0.2.5"}, "10.0.0.5", ""},
		"public":      {map[string]string{"COREOS_PRIVATE_IPV4": "", "COREOS_PUBLIC_IPV4": "192.0.2.5"}, "192.0.2.5", ""},
		"mapped":      {map[string]string{"COREOS_PRIVATE_IPV4": "::ffff:10.0.0.5"}, "10.0.0.5", ""},
		"loopback":    {map[string]string{"COREOS_PRIVATE_IPV4": "127.0.1.1"}, "", "COREOS_PRIVATE_IPV4: 127.0.1.1 is loopback: no other machine can reach it"},
		"not address": {map[string]string{"COREOS_PUBLIC_IPV4": "$ip\n"}, "", `COREOS_PUBLIC_IPV4: "$ip\n" is not an IP address`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := MachineAddress(nil, func(n string) string { return tc.env[n] })
			if tc.err != "" {
				if err == nil || err.Error() != tc.err {
					t.Errorf("got %v, want %s", err, tc.err)
				}
				return
			}
			if err != nil || got != netip.MustParseAddr(tc.want) {
				t.Errorf("got %s, %v, want %s", got, err, tc.want)
			}
		})
	}
}

// What the routes say depends on the machine; that it could be announced does not.
func TestMachineAddressFromRoutes(t *testing.T) {
	endpoints := make([]string, 1, 4)
	endpoints[0] = "http://127.0.0.1:2379/" // from loopback nothing can be learned
	got, err := MachineAddress(endpoints, func(string) string { return "" })
	if err == nil && (UsableAddress(got) != nil || Bridges()(got)) {
		t.Errorf("got %s, which no other machine can reach", got)
	}
	if err != nil && got.IsValid() {
		t.Errorf("got %s and %v", got, err)
	}
	if spare := endpoints[:2]; spare[1] != "" {
		t.Errorf("the caller's endpoints were written to: %q", spare[1])
	}
}

// Of each address of this machine the route leads out from itself: those that others can
// reach are found, and a container bridge's own is not taken.
func TestMachineAddressIsThatOfTheRoute(t *testing.T) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	bridges := Bridges()
	for _, a := range addrs {
		own := netip.MustParsePrefix(a.String()).Addr()
		got, err := MachineAddress([]string{"http://" + netip.AddrPortFrom(own, 2379).String()}, func(string) string { return "" })
		usable := UsableAddress(own) == nil && !bridges(own)
		if usable && (err != nil || got != own) {
			t.Errorf("towards %s: %s (%v)", own, got, err)
		}
		if !usable && got == own {
			t.Errorf("%s was taken", own)
		}
		// Nor may the environment say it.
		_, err = MachineAddress(nil, func(name string) string { return map[string]string{"COREOS_PUBLIC_IPV4": own.String()}[name] })
		if usable != (err == nil) {
			t.Errorf("%s from the environment: %v", own, err)
		}
	}
}

func TestUsableAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"10.0.0.5": "", "192.0.2.1": "", "2001:db8::5": "", "fd00::5": "", "::ffff:10.0.0.5": "",
		"0.0.0.0": "is not the address of one machine", "::": "is not the address of one machine", "::ffff:0.0.0.0": "is not the address of one machine",
		"224.0.0.1": "is not the address of one machine", "ff02::1": "is not the address of one machine", "255.255.255.255": "is not the address of one machine",
		"127.0.0.1": "is loopback: no other machine can reach it", "::1": "is loopback: no other machine can reach it", "::ffff:127.0.0.1": "is loopback: no other machine can reach it",
		"169.254.1.1": "is link-local: only this network segment can reach it", "fe80::1%eth0": "is link-local: only this network segment can reach it",
		"fd00::5%eth0": "has a zone, which means something on this machine only",
	} {
		got := ""
		if err := UsableAddress(netip.MustParseAddr(addr)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

func TestBridgesByName(t *testing.T) {
	for name, want := range map[string]bool{
		"docker0": true, "br-0123456789ab": true, "podman0": true, "cni-podman0": true,
		"eth0": false, "br-lan": false, "br0": false, "br-ex": false, "docker_gw": false, "br-0123456789az": false,
	} {
		if got := isBridge(name); got != want {
			t.Errorf("%s: got %t, want %t", name, got, want)
		}
	}
}

func TestSharedContainerIsNotChanged(t *testing.T) {
	c := container(label("rollcall.meta.a", "1"))
	r := rules(func(r *Rules) { r.Meta = map[string]string{"b": "2"} })
	for range 2 {
		_ = r.Decide(&c)
	}
	if len(c.Labels) != 1 || len(r.Meta) != 1 || len(c.Ports) != 1 {
		t.Errorf("container %v, rules %v were written to", c.Labels, r.Meta)
	}
}
