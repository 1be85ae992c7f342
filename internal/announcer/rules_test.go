package announcer

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
)

// shown gives each decision as "port: service/instance endpoint proto", or as its error.
func shown(decisions []Decision) []string {
	var lines []string
	for _, d := range decisions {
		switch i := d.Instance; {
		case d.Err != nil:
			lines = append(lines, strings.TrimSpace(d.Port+": "+d.Err.Error()))
		default:
			lines = append(lines, fmt.Sprintf("%s: %s %s %s", d.Port, i.ID(), i.Endpoint(), i.Proto))
		}
	}
	return lines
}

type decideCase struct {
	rules     []func(*Rules)
	container []func(*docker.Container)
	want      []string
}

func testDecide(t *testing.T, cases map[string]decideCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, c := rules(tc.rules...), container(tc.container...)
			got := r.Decide(&c)
			if diff := cmp.Diff(tc.want, shown(got)); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
			for _, d := range got {
				if d.Container != c.Name {
					t.Errorf("decision about container %q, want %q", d.Container, c.Name)
				}
			}
		})
	}
}

type (
	flags = []func(*Rules)
	says  = []func(*docker.Container)
)

func single(r *Rules)   { r.Single = true }
func internal(r *Rules) { r.Flags["internal"] = "true" }
func explicit(r *Rules) { r.Explicit = true }

func TestDecideWhether(t *testing.T) {
	in := func(state, health string) func(*docker.Container) {
		return func(c *docker.Container) { c.State, c.Health = state, health }
	}
	web := []string{"80/tcp: nginx/core-01-web1 10.0.0.5:32768 tcp"}
	nothing := func(why string) []string { return []string{": nothing to announce: " + why} }
	testDecide(t, map[string]decideCase{
		"running":                   {nil, nil, web},
		"healthy":                   {nil, says{in("running", "healthy")}, web},
		"starting":                  {nil, says{in("running", "starting")}, nothing("health is starting")},
		"unhealthy":                 {nil, says{in("running", "unhealthy")}, nothing("health is unhealthy")},
		"paused":                    {nil, says{in("paused", "healthy")}, nothing("container is paused")},
		"restarting":                {nil, says{in("restarting", "")}, nothing("container is restarting")},
		"exited":                    {nil, says{in("exited", "")}, nothing("container is exited")},
		"explicit, says nothing":    {flags{explicit}, nil, nothing("--explicit, and neither a rollcall label or variable nor SERVICE_NAME asks for it")},
		"explicit, by label":        {flags{explicit}, says{label("rollcall.meta.x", "1")}, web},
		"explicit, by environment":  {flags{explicit}, says{env("ROLLCALL_VERSION", "1")}, web},
		"explicit, by SERVICE_NAME": {flags{explicit}, says{env("SERVICE_80_NAME", "old")}, []string{"80/tcp: old/core-01-web1 10.0.0.5:32768 tcp"}},
		"explicit, one port named": {
			flags{explicit},
			says{ports(published(80, "tcp", "0.0.0.0:1"), published(443, "tcp", "0.0.0.0:2")), env("SERVICE_443_NAME", "tls")},
			[]string{"80/tcp: nothing to announce: --explicit, and no SERVICE_NAME asks for this port", "443/tcp: tls/core-01-web1-443 10.0.0.5:2 tcp"},
		},
		"ignored, registrator's way": {nil, says{env("SERVICE_IGNORE", "false")}, nothing("ignored, as its variable SERVICE_IGNORE says")},
		"explicit, no name at all":   {flags{explicit}, says{env("SERVICE_HOST_NAME", "x", "SERVICE_NAME", "")}, nothing("--explicit, and neither a rollcall label or variable nor SERVICE_NAME asks for it")},
		"explicit, other SERVICE_":   {flags{explicit}, says{env("SERVICE_TAGS", "old")}, nothing("--explicit, and neither a rollcall label or variable nor SERVICE_NAME asks for it")},
		"ignored":                    {nil, says{label("rollcall.ignore", "true")}, nothing("ignored, as its label rollcall.ignore says")},
		"ignored as registrator":     {nil, says{env("SERVICE_IGNORE", "no")}, nothing("ignored, as its variable SERVICE_IGNORE says")},
		"ignored, but not really":    {nil, says{label("rollcall.ignore", "false"), env("SERVICE_IGNORE", "1")}, web},
		"ignored, emptied":           {nil, says{label("rollcall.ignore", "")}, web},
		"ignored, sidekick":          {flags{single}, says{label("rollcall.ignore", "true")}, []string{"80/tcp: nginx/web1 10.0.0.5:32768 tcp"}},
		"explicit, sidekick":         {flags{single, explicit}, nil, []string{"80/tcp: nginx/web1 10.0.0.5:32768 tcp"}},
		"one port ignored, sidekick": {
			flags{single},
			says{ports(published(80, "tcp", "0.0.0.0:1"), published(443, "tcp", "0.0.0.0:2")), label("rollcall.ignore", "1", "rollcall.443.ignore", "1")},
			[]string{"80/tcp: nginx-80/web1-80 10.0.0.5:1 tcp", "443/tcp: nothing to announce: port ignored, as its label rollcall.443.ignore says"},
		},
		"ignored but for one port": {
			nil,
			says{ports(published(80, "tcp", "0.0.0.0:1"), published(443, "tcp", "0.0.0.0:2")), label("rollcall.ignore", "1", "rollcall.443.ignore", "false")},
			[]string{"80/tcp: nothing to announce: port ignored, as its label rollcall.ignore says", "443/tcp: nginx-443/core-01-web1-443 10.0.0.5:2 tcp"},
		},
		"one port ignored": {
			nil,
			says{ports(published(80, "tcp", "0.0.0.0:1"), published(443, "tcp", "0.0.0.0:2")), label("SERVICE_443_IGNORE", "1")},
			[]string{"80/tcp: nginx-80/core-01-web1-80 10.0.0.5:1 tcp", "443/tcp: nothing to announce: port ignored, as its label SERVICE_443_IGNORE says"},
		},
		"no port":             {nil, says{ports()}, nothing("container publishes no port: publish one (docker run -p), or use --internal")},
		"no port, but asks":   {nil, says{ports(), label("rollcall.service", "x")}, []string{": container publishes no port: publish one (docker run -p), or use --internal"}},
		"no port, sidekick":   {flags{single}, says{ports(published(80, "tcp"))}, []string{": container publishes no port: publish one (docker run -p), or use --internal"}},
		"neither yes nor no":  {nil, says{label("rollcall.internal", "maybe")}, []string{`: rollcall.internal "maybe" is neither true nor false`}},
		"not a port":          {nil, says{label("rollcall.port", "http")}, []string{`: port to announce: port "http" is not a number from 1 to 65535`}},
		"not a weight":        {nil, says{label("rollcall.weight", "heavy")}, []string{`80/tcp: rollcall.weight "heavy" is not a number from 0 to 256`}},
		"not a weight at all": {nil, says{label("rollcall.weight", strings.Repeat("9", 1e6))}, []string{`80/tcp: rollcall.weight "` + strings.Repeat("9", 80) + `" is not a number from 0 to 256`}},
	})
}

func TestDecidePorts(t *testing.T) {
	three := ports(published(53, "tcp", "0.0.0.0:1"), published(53, "udp", "0.0.0.0:2"), published(80, "tcp", "0.0.0.0:3"), published(81, "tcp"))
	port := func(p string) func(*Rules) { return flag("port", p) }
	testDecide(t, map[string]decideCase{
		"several": {nil, says{three}, []string{
			"53/tcp: nginx-53/core-01-web1-53 10.0.0.5:1 tcp", "53/udp: nginx-53/core-01-web1-53-udp 10.0.0.5:2 udp", "80/tcp: nginx-80/core-01-web1-80 10.0.0.5:3 tcp",
		}},
		"one chosen":              {nil, says{three, label("rollcall.port", "80")}, []string{"80/tcp: nginx/core-01-web1 10.0.0.5:3 tcp"}},
		"udp chosen":              {nil, says{three, env("ROLLCALL_PORT", "53/udp")}, []string{"53/udp: nginx/core-01-web1 10.0.0.5:2 udp"}},
		"one chosen twice":        {nil, says{three, label("rollcall.port", "80, 80/tcp")}, []string{"80/tcp: nginx/core-01-web1 10.0.0.5:3 tcp"}},
		"chosen by flag":          {flags{port("80")}, says{three, label("rollcall.port", "53")}, []string{"80/tcp: nginx/core-01-web1 10.0.0.5:3 tcp"}},
		"not published":           {nil, says{three, label("rollcall.port", "81")}, []string{"81/tcp: port 81 is not published: publish it (docker run -p), or use --internal"}},
		"not there":               {nil, says{three, label("rollcall.port", "82")}, []string{"82/tcp: port 82 is not published: publish it (docker run -p), or use --internal"}},
		"not there, by flag":      {flags{port("82"), single}, says{three}, []string{"82/tcp: port 82 is not published: publish it (docker run -p), or use --internal"}},
		"flag for the machine":    {flags{port("80,82")}, says{three}, []string{"80/tcp: nginx/core-01-web1 10.0.0.5:3 tcp"}},
		"nothing for the machine": {flags{port("82")}, says{three}, []string{": nothing to announce: it has none of the ports 82"}},
		"sctp":                    {nil, says{ports(published(9, "sctp", "0.0.0.0:4"))}, []string{`9/sctp: instance "nginx/core-01-web1": proto "sctp" is neither tcp nor udp`}},
		"range": {nil, says{three, label("rollcall.port", "50-90")}, []string{
			"53/tcp: nginx-53/core-01-web1-53 10.0.0.5:1 tcp", "80/tcp: nginx-80/core-01-web1-80 10.0.0.5:3 tcp",
			"81/tcp: port 81 is not published: publish it (docker run -p), or use --internal",
		}},
		"range, by flag":   {flags{port("1-60/udp")}, says{three}, []string{"53/udp: nginx/core-01-web1 10.0.0.5:2 udp"}},
		"range of nothing": {nil, says{three, label("rollcall.port", "90-99")}, []string{": it has no tcp port from 90 to 99"}},
		"range on the host": {nil, says{network("host"), ports(), label("rollcall.port", "8000-8001")}, []string{
			"8000/tcp: nginx-8000/core-01-web1-8000 10.0.0.5:8000 tcp", "8001/tcp: nginx-8001/core-01-web1-8001 10.0.0.5:8001 tcp",
		}},
		"a long choice": {nil, says{three, label("rollcall.port", strings.Repeat("80,", 400)+"80")}, []string{": port to announce: choice of ports is longer than 1024 bytes"}},
		"too many": {nil, says{network("host"), ports(), label("rollcall.port", "1-1024,2000")}, []string{
			": it has 1025 ports to announce, which is more than 1024: choose some with --port or the label rollcall.port",
		}},
	})
}

func TestDecideNames(t *testing.T) {
	two := ports(published(80, "tcp", "0.0.0.0:1"), published(443, "tcp", "0.0.0.0:2"))
	twins := ports(published(53, "tcp", "0.0.0.0:1"), published(53, "udp", "0.0.0.0:2"))
	service := func(s string) func(*Rules) { return flag("service", s) }
	instance := func(s string) func(*Rules) { return func(r *Rules) { r.Flags["instance"], r.Single = s, true } }
	at80 := func(id string) []string { return []string{"80/tcp: " + id + " 10.0.0.5:32768 tcp"} }
	at1and2 := func(a, b string) []string {
		return []string{"80/tcp: " + a + " 10.0.0.5:1 tcp", "443/tcp: " + b + " 10.0.0.5:2 tcp"}
	}
	testDecide(t, map[string]decideCase{
		"sidekick":                  {flags{single}, nil, at80("nginx/web1")},
		"upper case":                {nil, says{called("WEB_1"), image("Repo/Nginx")}, at80("nginx/core-01-web_1")},
		"image with everything":     {nil, says{image("reg.example.com:5000/team/shop:1.2@sha256:0123")}, at80("shop/core-01-web1")},
		"image with a digest":       {nil, says{image("shop@sha256:0123")}, at80("shop/core-01-web1")},
		"image at a port":           {nil, says{image("localhost:5000/shop")}, at80("shop/core-01-web1")},
		"image without a name":      {nil, says{image("sha256:0123")}, []string{`80/tcp: image "sha256:0123" gives no name for a service: say one with --service or the label rollcall.service`}},
		"no image":                  {nil, says{image("")}, []string{`80/tcp: image "" gives no name for a service: say one with --service or the label rollcall.service`}},
		"nameless image with label": {nil, says{image("sha256:0123"), label("rollcall.service", "a")}, at80("a/core-01-web1")},
		"registrator":               {nil, says{env("SERVICE_NAME", "old", "SERVICE_ID", "old-1")}, at80("old/old-1")},
		"registrator, labels":       {nil, says{label("SERVICE_NAME", "old"), env("SERVICE_NAME", "older")}, at80("old/core-01-web1")},
		"registrator, own":          {nil, says{env("SERVICE_NAME", "old", "SERVICE_80_NAME", "own")}, at80("own/core-01-web1")},
		"environment over it":       {nil, says{label("SERVICE_NAME", "old"), env("ROLLCALL_SERVICE", "e")}, at80("e/core-01-web1")},
		"label over environment":    {nil, says{label("rollcall.service", "l"), env("ROLLCALL_SERVICE", "e", "ROLLCALL_80_SERVICE", "e80")}, at80("l/core-01-web1")},
		"own label over label":      {nil, says{label("rollcall.service", "l", "rollcall.80.service", "l80")}, at80("l80/core-01-web1")},
		"flag over all":             {flags{service("f")}, says{label("rollcall.80.service", "l", "SERVICE_NAME", "old")}, at80("f/core-01-web1")},
		"emptied label":             {nil, says{label("rollcall.service", " "), env("ROLLCALL_SERVICE", "e")}, at80("e/core-01-web1")},
		"instance by label":         {nil, says{label("rollcall.instance", "i")}, at80("nginx/i")},
		"instance by flag":          {flags{instance("f")}, says{label("rollcall.instance", "i")}, at80("nginx/f")},

		"several, one name":           {nil, says{two, label("rollcall.service", "a")}, at1and2("a-80/core-01-web1-80", "a-443/core-01-web1-443")},
		"several, one own name":       {nil, says{two, label("rollcall.443.service", "tls")}, at1and2("nginx-80/core-01-web1-80", "tls/core-01-web1-443")},
		"several, own names of old":   {nil, says{two, env("SERVICE_80_NAME", "a", "SERVICE_443_NAME", "b", "SERVICE_80_ID", "x")}, at1and2("a/x", "b/core-01-web1-443")},
		"several, flag over own":      {flags{service("f")}, says{two, label("rollcall.80.service", "a", "rollcall.443.service", "b")}, at1and2("f-80/core-01-web1-80", "f-443/core-01-web1-443")},
		"several, label over own env": {nil, says{two, label("rollcall.service", "l"), env("ROLLCALL_80_SERVICE", "a", "ROLLCALL_443_SERVICE", "b")}, at1and2("l-80/core-01-web1-80", "l-443/core-01-web1-443")},
		"several, own instances":      {nil, says{two, label("rollcall.80.instance", "x", "rollcall.443.instance", "y")}, at1and2("nginx-80/x", "nginx-443/y")},
		"several, instance by flag":   {flags{instance("f")}, says{two, label("rollcall.80.instance", "x")}, at1and2("nginx-80/f-80", "nginx-443/f-443")},
		"two protocols, two names": {nil, says{twins, label("rollcall.53/udp.service", "fast"), env("ROLLCALL_53_TCP_SERVICE", "sure", "ROLLCALL_53_SERVICE", "no")}, []string{
			"53/tcp: sure/core-01-web1-53 10.0.0.5:1 tcp", "53/udp: fast/core-01-web1-53-udp 10.0.0.5:2 udp",
		}},
		"two protocols, one own name": {nil, says{twins, label("rollcall.53.service", "dns", "rollcall.53.instance", "d")}, []string{"53/tcp: dns/d 10.0.0.5:1 tcp", "53/udp: dns/d-udp 10.0.0.5:2 udp"}},
	})
}

func TestDecideMetadata(t *testing.T) {
	c := container(
		label("rollcall.version", "v1", "rollcall.weight", "7", "rollcall.80.weight", "8", "rollcall.host", "a.example, b.example", "rollcall.path", "/shop",
			"rollcall.meta.rack", "r1", "rollcall.80.meta.rack", "r2", "rollcall.81.meta.rack", "r3", "rollcall.meta.zone", "z"),
		env("ROLLCALL_VERSION", "v0", "ROLLCALL_PATH", "/no"))
	want := &discovery.Instance{
		Service: "nginx", Name: "core-01-web1", Host: "10.0.0.5", Port: 32768, Proto: "tcp", Version: "v1", Weight: 8,
		Node: "Core-01", Machine: "m1", Container: "4f0c", Started: noon, Hosts: []string{"a.example", "b.example"}, Path: "/shop",
		Meta: map[string]string{"rack": "r2", "zone": "z"},
	}
	r := rules()
	check := func(what string) {
		t.Helper()
		got := r.Decide(&c)
		if len(got) != 1 || got[0].Err != nil {
			t.Fatalf("%s: decisions %v", what, shown(got))
		}
		if diff := cmp.Diff(want, got[0].Instance); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	check("labels")
	r.Flags["version"], r.Flags["weight"], r.Meta = "v2", "0", map[string]string{"rack": "flag"}
	want.Version, want.Weight, want.Meta = "v2", 0, map[string]string{"rack": "flag", "zone": "z"}
	check("flags")
	c.Labels, r.Meta, r.Flags = nil, nil, nil
	want.Version, want.Weight, want.Meta, want.Hosts, want.Path = "v0", discovery.DefaultWeight, nil, nil, "/no"
	check("environment")
}

// What a container says of itself ends here or is harmless: nothing of it reaches etcd unless it is valid.
func TestHostileContainers(t *testing.T) {
	long := strings.Repeat("a", 64)
	for name, tc := range map[string]struct {
		container func(*docker.Container)
		want      string
	}{
		"newline in a service":   {label("rollcall.service", "a\nb"), `instance "a\nb/core-01-web1": service name "a\nb" may hold only a-z, 0-9, '.', '_' and '-'`},
		"path as a service":      {label("rollcall.service", "../rollcall"), `instance "../rollcall/core-01-web1": service name "../rollcall" must begin and end with a lower-case letter or a digit`},
		"dots as an instance":    {label("rollcall.instance", ".."), `instance "nginx/..": instance name ".." must begin and end with a lower-case letter or a digit`},
		"slash in an instance":   {label("rollcall.instance", "a/b"), `instance "nginx/a/b": instance name "a/b" may hold only a-z, 0-9, '.', '_' and '-'`},
		"long service":           {label("rollcall.service", long), `instance "` + long + `/core-01-web1": service name "` + long + `" has a label longer than 63 characters`},
		"name of the container":  {called("web_"), `instance "nginx/core-01-web_": instance name "core-01-web_" must begin and end with a lower-case letter or a digit`},
		"long name":              {called(long), `has a label longer than 63 characters`},
		"NUL in a version":       {label("rollcall.version", "1\x00"), `instance "nginx/core-01-web1": version "1\x00" holds a character that cannot be printed`},
		"escape in a version":    {env("ROLLCALL_VERSION", "\x1b[2J"), `version "\x1b[2J" holds a character that cannot be printed`},
		"broken UTF-8":           {label("rollcall.version", "\xff"), "version is not valid UTF-8"},
		"long version":           {label("rollcall.version", strings.Repeat("v", 257)), "version is longer than 256 bytes"},
		"newline in a host":      {label("rollcall.host", "a.example\nlisten"), "not a host name"},
		"directive as a host":    {label("rollcall.host", "a;return"), "not a host name"},
		"dots in a path":         {label("rollcall.path", "/a/../b"), "has an empty, '.' or '..' segment"},
		"brace in a path":        {label("rollcall.path", "/a{"), "may hold only letters, digits and -._~/"},
		"newline in a meta":      {label("rollcall.meta.x", "a\nb"), `meta "x": value "a\nb" holds a character that cannot be printed`},
		"newline in a meta key":  {label("rollcall.meta.x\n", "a"), `meta key "x\n" is empty, too long or not printable`},
		"empty meta key":         {label("rollcall.meta.", "a"), `meta key "" is empty`},
		"weight":                 {label("rollcall.weight", "257"), "weight 257 is not from 0 to 256"},
		"negative weight":        {label("rollcall.weight", "-1"), "weight -1 is not from 0 to 256"},
		"protocol of the engine": {ports(published(9, "sctp", "0.0.0.0:4")), `proto "sctp" is neither tcp nor udp`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, rules())
			f.know(map[string]bool{})
			f.observe(docker.Change{Listed: true, Containers: []docker.Container{container(tc.container)}})
			if got := f.last(t); len(got) > 0 {
				t.Errorf("announced: %v", got)
			}
			d := f.Decisions()
			if len(d) != 1 || d[0].Err == nil || !strings.Contains(d[0].Err.Error(), tc.want) {
				t.Fatalf("decisions %v, want %s", shown(d), tc.want)
			}
			if errors.Is(d[0].Err, errSilent) {
				t.Error("nobody is told")
			}
			if log := f.log.String(); !strings.Contains(log, d[0].Container) || strings.Count(log, "\n") != 1 {
				t.Errorf("log %q, want one line that names container %s", log, d[0].Container)
			}
		})
	}
}

// The layout hostport has nothing but the instance's name to say udp with.
func TestUDPInHostPort(t *testing.T) {
	two := ports(published(53, "tcp", "0.0.0.0:1"), published(53, "udp", "0.0.0.0:2"))
	hostPort := func(r *Rules) { r.Layout = discovery.LayoutHostPort }
	testDecide(t, map[string]decideCase{
		"default names": {flags{hostPort}, says{two}, []string{
			"53/tcp: nginx-53/core-01-web1-53 10.0.0.5:1 tcp", "53/udp: nginx-53/core-01-web1-53:udp 10.0.0.5:2 udp",
		}},
		"own names": {flags{hostPort}, says{two, label("rollcall.53.instance", "d", "rollcall.53/udp.instance", "e:udp")}, []string{
			"53/tcp: nginx-53/d 10.0.0.5:1 tcp", "53/udp: nginx-53/e:udp 10.0.0.5:2 udp",
		}},
		"tcp under udp's name": {flags{hostPort}, says{label("rollcall.instance", "e:udp")}, []string{
			"80/tcp: instance nginx/e:udp: layout hostport cannot say tcp under this name: it means udp if it ends in :udp, and tcp otherwise",
		}},
	})
}

func TestNoAddressKnown(t *testing.T) {
	nowhere := func(r *Rules) { r.Address = netip.Addr{} }
	testDecide(t, map[string]decideCase{
		"published":         {flags{nowhere}, nil, []string{"80/tcp: this machine's address is not known: say it with --address"}},
		"loopback all same": {flags{nowhere}, says{ports(published(80, "tcp", "127.0.0.1:1"))}, []string{"80/tcp: port 80 is published only on 127.0.0.1:1, which is loopback: no other machine can reach it"}},
		"on one address":    {flags{nowhere}, says{ports(published(80, "tcp", "10.0.0.9:1"))}, []string{"80/tcp: nginx/core-01-web1 10.0.0.9:1 tcp"}},
		"internal":          {flags{nowhere, internal}, nil, []string{"80/tcp: nginx/core-01-web1 172.17.0.2:80 tcp"}},
	})
}

func TestMisspelt(t *testing.T) {
	c := container(
		label("rollcall.sevrice", "x", "rollcall.80.chek", "x", "rollcall.53/udp.service", "x", "rollcall.check.interval", "2s", "rollcall.meta.any", "x", "other", "x"),
		env("ROLLCALL_FOO", "x", "ROLLCALL_80_UDP_SERVICE", "x", "ROLLCALL_CHECK_RISE", "2", "ROLLCALL_80_META_X", "x", "ROLLCALLER", "x"))
	var got []string
	for _, s := range misspelt(&c) {
		got = append(got, s.From+" "+s.Name)
	}
	if diff := cmp.Diff([]string{`label "rollcall.80.chek"`, `label "rollcall.sevrice"`, `variable "ROLLCALL_FOO"`}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What one container can have written is bounded, however it multiplies.
func TestRecordsAreBounded(t *testing.T) {
	r := rules()
	c := container(network("host"), ports(), label("rollcall.port", "1-1024"))
	for n := range 50 {
		c.Labels[fmt.Sprint("rollcall.meta.", n)] = strings.Repeat("x", 1000)
	}
	d := r.Decide(&c)
	if len(d) != 1 || d[0].Err == nil || d[0].Err.Error() != "the records of its 1024 ports would be larger than 1048576 bytes" {
		t.Errorf("%d decisions: %v", len(d), d[0].Err)
	}
}
