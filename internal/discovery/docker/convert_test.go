package docker

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func decode(data string) (Container, error) {
	var in container.InspectResponse
	if err := json.Unmarshal([]byte(data), &in); err != nil {
		return Container{}, err
	}
	return convert(in)
}

func TestConvert(t *testing.T) {
	full, err := os.ReadFile("testdata/inspect.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		in   string
		want Container
	}{
		"everything": {string(full), Container{
			ID: "4f0c", Name: "web.1", Image: "repo/hello:1.2@sha256:0123", State: "running", Health: "unhealthy", HealthPeriod: 35 * time.Second,
			Started: time.Date(2026, 5, 4, 12, 0, 0, 123456789, time.UTC), NetworkMode: "back",
			Labels: map[string]string{"rollcall.service": "hello", "": "odd"},
			Env:    map[string]string{"A": "1=2", "EMPTY": ""},
			Ports: []Port{
				{Number: 53, Proto: "tcp"},
				{Number: 53, Proto: "udp", Bindings: []Binding{{addr("0.0.0.0"), 5353}}},
				{Number: 80, Proto: "tcp", Bindings: []Binding{{addr("0.0.0.0"), 32768}, {addr("10.0.0.5"), 8080}, {addr("10.0.0.5"), 8081}, {addr("::"), 32769}}},
				{Number: 443, Proto: "tcp"},
			},
			Networks: []Network{
				{Name: "back", IPv4: addr("172.20.0.2"), IPv6: addr("fd00::2"), Gateway: addr("172.20.0.1")},
				{Name: "front", IPv4: addr("172.21.0.2"), Gateway: addr("172.21.0.1")},
			},
		}},
		"nothing but an id": {`{"Id":"a"}`, Container{ID: "a"}},
		"nothing but nulls": {`{"Id":"a","State":null,"Config":null,"HostConfig":null,"NetworkSettings":null}`, Container{ID: "a"}},
		"more nulls":        {`{"Id":"a","State":{"Health":null},"NetworkSettings":{"Networks":{"n":null},"Ports":{"1/tcp":null}}}`, Container{ID: "a", Networks: []Network{{Name: "n"}}, Ports: []Port{{Number: 1, Proto: "tcp"}}}},
		"no health check":   {`{"Id":"a","State":{"Status":"created","StartedAt":"0001-01-01T00:00:00Z","Health":{"Status":"none"}}}`, Container{ID: "a", State: "created"}},
		"health by default": {`{"Id":"a","Config":{"Healthcheck":{"Test":["CMD","/ok"]}}}`, Container{ID: "a", HealthPeriod: time.Minute}},
		"health disabled":   {`{"Id":"a","Config":{"Healthcheck":{"Test":["NONE"],"Interval":1000000000}}}`, Container{ID: "a"}},
		"health of nothing": {`{"Id":"a","Config":{"Healthcheck":{"Interval":1000000000}}}`, Container{ID: "a"}},
		"IPv6 alone": {`{"Id":"a","NetworkSettings":{"Networks":{"n":{"IPAddress":"","IPv6Gateway":"fd00::1","GlobalIPv6Address":"fd00::2"}},"Ports":{"80/tcp":[{"HostIp":"::","HostPort":"9"}]}}}`, Container{
			ID: "a", Networks: []Network{{Name: "n", IPv6: addr("fd00::2")}},
			Ports: []Port{{Number: 80, Proto: "tcp", Bindings: []Binding{{addr("::"), 9}}}},
		}},
		"a scoped binding":   {`{"Id":"a","NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"fe80::1%eth0","HostPort":"9"}]}}}`, Container{ID: "a", Ports: []Port{{Number: 80, Proto: "tcp", Bindings: []Binding{{addr("fe80::1%eth0"), 9}}}}}},
		"no time":            {`{"Id":"a","State":{"StartedAt":"yesterday"}}`, Container{ID: "a"}},
		"odd ports":          {`{"Id":"a","Config":{"ExposedPorts":{"":{},"/":{},"/tcp":{},"0/tcp":{},"65536/tcp":{},"-1/tcp":{},"80-90/tcp":{},"x/udp":{},"81/":{},"82":{},"83/SCTP":{}}}}`, Container{ID: "a", Ports: []Port{{Number: 82, Proto: "tcp"}, {Number: 83, Proto: "sctp"}}}},
		"odd bindings":       {`{"Id":"a","NetworkSettings":{"Ports":{"80/tcp":[{},{"HostIp":"x","HostPort":"1"},{"HostIp":"0.0.0.0","HostPort":"0"},{"HostPort":"70000"},{"HostIp":"","HostPort":"9"},{"HostIp":"::ffff:10.0.0.1","HostPort":"9"},{"HostPort":"9"}]}}}`, Container{ID: "a", Ports: []Port{{Number: 80, Proto: "tcp", Bindings: []Binding{{addr("0.0.0.0"), 9}, {addr("10.0.0.1"), 9}}}}}},
		"odd addresses":      {`{"Id":"a","NetworkSettings":{"Networks":{"n":{"IPAddress":"fd00::1","GlobalIPv6Address":"10.0.0.1","Gateway":"10.0.0.300"}}}}`, Container{ID: "a", Networks: []Network{{Name: "n"}}}},
		"a name without end": {`{"Id":"a","Name":"//x"}`, Container{ID: "a", Name: "/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			opts := []gocmp.Option{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})}
			if diff := gocmp.Diff(tc.want, got, opts...); diff != "" {
				t.Errorf("container (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConvertNoContainer(t *testing.T) {
	for _, in := range []string{"{}", "null", `{"Id":""}`, `{"message":"hello"}`} {
		if c, err := decode(in); err == nil {
			t.Errorf("%s: %+v, want an error", in, c)
		}
	}
}

func FuzzConvert(f *testing.F) {
	full, err := os.ReadFile("testdata/inspect.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(full))
	f.Add(`{"Id":"a","NetworkSettings":{"Networks":{"n":null},"Ports":{"1/tcp":null,"01/tcp":[{"HostPort":"1"}]}}}`)
	f.Add(`{"Id":"a","Config":{"Env":["=","x","=y"],"ExposedPorts":{"1/":{}}}}`)
	f.Fuzz(func(t *testing.T, in string) {
		c, err := decode(in)
		if err != nil {
			return
		}
		if c.ID == "" {
			t.Error("a container without an id")
		}
		// Strictly ascending: sorted, and nothing twice.
		for i, p := range c.Ports {
			if p.Number == 0 || p.Proto == "" {
				t.Errorf("port %+v", p)
			}
			if i > 0 && cmp.Or(cmp.Compare(c.Ports[i-1].Number, p.Number), cmp.Compare(c.Ports[i-1].Proto, p.Proto)) >= 0 {
				t.Errorf("ports %+v", c.Ports)
			}
			for j, b := range p.Bindings {
				if !b.IP.IsValid() || b.Port == 0 {
					t.Errorf("binding %+v", b)
				}
				if j > 0 && cmp.Or(p.Bindings[j-1].IP.Compare(b.IP), cmp.Compare(p.Bindings[j-1].Port, b.Port)) >= 0 {
					t.Errorf("bindings %+v", p.Bindings)
				}
			}
		}
		if !slices.IsSortedFunc(c.Networks, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) }) {
			t.Errorf("networks %+v", c.Networks)
		}
	})
}
