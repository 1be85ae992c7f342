package announcer

import (
	"net/netip"
	"testing"
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
	named := func(n string) func(*Rules) { return func(r *Rules) { r.Network = n } }
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
			[]string{": container is on the host's network: say which port, with --port or the label rollcall.port"},
		},
		"host network, with a port":   {nil, says{network("host"), ports(), label("rollcall.port", "80")}, at("10.0.0.5:80")},
		"host network, also internal": {flags{internal}, says{network("host"), ports(), label("rollcall.port", "80")}, at("10.0.0.5:80")},
		"another container's network": {nil, says{network("container:4f0d"), ports()}, []string{": nothing to announce: it publishes no port"}},
	})
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
	if err == nil && (UsableAddress(got) != nil || onBridge(got)) {
		t.Errorf("got %s, which no other machine can reach", got)
	}
	if err != nil && got.IsValid() {
		t.Errorf("got %s and %v", got, err)
	}
	if spare := endpoints[:2]; spare[1] != "" {
		t.Errorf("the caller's endpoints were written to: %q", spare[1])
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
