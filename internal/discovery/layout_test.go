package discovery

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// full gives an instance with something in every field.
func full(edit func(*Instance)) *Instance {
	i := instance(func(i *Instance) {
		i.Version, i.Weight, i.Node, i.Machine, i.Container = "52c7248a14", 7, "core-01", "0af3", "c0ffee"
		i.Started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		i.Hosts, i.Path = []string{"www.example.com", "b.example.com"}, "/shop"
		i.Meta = map[string]string{"team": "a, b", "empty": ""}
	})
	if edit != nil {
		edit(i)
	}
	return i
}

func TestEncode(t *testing.T) {
	tests := []struct {
		name   string
		layout Layout
		in     *Instance
		want   map[string]string
	}{
		{"json", LayoutJSON, instance(nil), map[string]string{
			"/services/web/web1": `{"host":"10.0.0.5","port":32768,"proto":"tcp","weight":100}`,
		}},
		{"json, everything", LayoutJSON, full(nil), map[string]string{
			"/services/web/web1": `{"host":"10.0.0.5","port":32768,"version":"52c7248a14","proto":"tcp","weight":7,"node":"core-01","machine":"0af3","container":"c0ffee",` +
				`"started":"2026-01-02T03:04:05Z","hosts":["www.example.com","b.example.com"],"path":"/shop","meta":{"empty":"","team":"a, b"}}`,
		}},
		{"json, weight 0", LayoutJSON, instance(func(i *Instance) { i.Weight = 0 }), map[string]string{
			"/services/web/web1": `{"host":"10.0.0.5","port":32768,"proto":"tcp","weight":0}`,
		}},
		{"host:port", LayoutHostPort, full(nil), map[string]string{"/services/web/web1": "10.0.0.5:32768"}},
		{"host:port, IPv6", LayoutHostPort, instance(func(i *Instance) { i.Host = "2001:DB8::0:5" }), map[string]string{"/services/web/web1": "[2001:db8::5]:32768"}},
		{"host:port, udp", LayoutHostPort, instance(func(i *Instance) { i.Name, i.Proto = "a:53:udp", "udp" }), map[string]string{"/services/web/a:53:udp": "10.0.0.5:32768"}},
		{"directory", LayoutDirectory, full(nil), map[string]string{
			"/services/web/web1/host": "core-01", "/services/web/web1/private_ipv4_addr": "10.0.0.5", "/services/web/web1/port": "32768", "/services/web/web1/proto": "tcp",
			"/services/web/web1/weight": "7", "/services/web/web1/version": "52c7248a14", "/services/web/web1/node": "core-01", "/services/web/web1/machine": "0af3",
			"/services/web/web1/container": "c0ffee", "/services/web/web1/started": "2026-01-02T03:04:05Z", "/services/web/web1/hosts": "www.example.com,b.example.com",
			"/services/web/web1/path": "/shop", "/services/web/web1/meta.team": "a, b", "/services/web/web1/meta.empty": "",
		}},
		{"directory, IPv6, node not a host name", LayoutDirectory, instance(func(i *Instance) { i.Host, i.Node = "2001:db8::5", "Core 01" }), map[string]string{
			"/services/web/web1/host": "2001:db8::5", "/services/web/web1/port": "32768", "/services/web/web1/proto": "tcp", "/services/web/web1/weight": "100", "/services/web/web1/node": "Core 01",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.in.clone()
			got, err := Encode("/services", tt.layout, tt.in)
			if err != nil {
				t.Fatalf("Encode: %v", err)
			}
			if diff := cmp.Diff(Record{Service: "web", Instance: tt.in.Name, Values: tt.want}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.in); diff != "" {
				t.Errorf("Encode changed its argument, -before +after:\n%s", diff)
			}
			if got.ID() != tt.in.ID() || len(got.Keys()) != len(tt.want) {
				t.Errorf("ID %s, keys %v", got.ID(), got.Keys())
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, edit := range []func(*Instance){
		func(i *Instance) { i.Service = "Web" },
		func(i *Instance) { i.Name = "" },
		func(i *Instance) { i.Host = "http://10.0.0.5" },
		func(i *Instance) { i.Port = 0 },
		func(i *Instance) { i.Proto = "" },
		func(i *Instance) { i.Weight = 257 },
		func(i *Instance) { i.Hosts = []string{"a b"} },
		func(i *Instance) { i.Path = "a" },
		func(i *Instance) { i.Version = "a\nb" },
		func(i *Instance) { i.Meta = map[string]string{"a": "b\nc"} },
		func(i *Instance) { i.Started = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		for _, layout := range Layouts() {
			if r, err := Encode("/services", layout, instance(edit)); err == nil {
				t.Errorf("%s: got %v, want an error", layout, r)
			}
		}
	}
	for name, proto := range map[string]string{"web1": "udp", "a:53:udp": "tcp"} {
		if r, err := Encode("/services", LayoutHostPort, instance(func(i *Instance) { i.Name, i.Proto = name, proto })); err == nil {
			t.Errorf("%s %s as host:port: got %v, want an error: the other protocol would be read", name, proto, r)
		}
	}
	huge := instance(func(i *Instance) {
		i.Meta = map[string]string{}
		for k := range maxMeta {
			i.Meta[fmt.Sprint("k", k)] = strings.Repeat("v", maxMetaText)
		}
	})
	if r, err := Encode("/services", LayoutJSON, huge); err == nil {
		t.Errorf("got a record of %d bytes, which no renderer would read", len(r.Values["/services/web/web1"]))
	}
}

// TestRoundTrip: what announce writes in a layout is what render reads.
func TestRoundTrip(t *testing.T) {
	bare := func(i *Instance) *Instance { // what host:port can say
		return &Instance{Service: i.Service, Name: i.Name, Host: i.Host, Port: i.Port, Proto: i.Proto, Weight: DefaultWeight}
	}
	for _, in := range []*Instance{
		instance(nil),
		full(nil),
		full(func(i *Instance) { i.Host = "2001:db8::5" }),
		full(func(i *Instance) { i.Host = "core-01.example.com" }),
		full(func(i *Instance) { i.Node = "Not A Host Name" }),
		full(func(i *Instance) { i.Weight, i.Hosts, i.Meta, i.Started = 0, nil, nil, time.Time{} }),
		full(func(i *Instance) { i.Name, i.Proto = "core-01:web1:53:udp", "udp" }),
		full(func(i *Instance) { i.Version = `"<&>'; {$x} #` }),
	} {
		for _, layout := range Layouts() {
			r, err := Encode("/services", layout, in)
			if err != nil {
				t.Errorf("%s: Encode: %v", layout, err)
				continue
			}
			want := in
			if layout == LayoutHostPort {
				want = bare(in)
			}
			if diff := cmp.Diff([]*Instance{want}, read(t, r)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", layout, diff)
			}
		}
	}
}

// read gives the instances of the catalog that a record alone amounts to.
func read(t *testing.T, r Record) []*Instance {
	t.Helper()
	a := NewAssembler("/services")
	for key, value := range r.Values {
		a.Put(key, []byte(value), 0, 0)
	}
	c := a.Catalog(1)
	for _, refusal := range c.Refused {
		t.Errorf("%s is refused: %s", refusal.Key, refusal.Reason)
	}
	s, ok := c.Service(r.Service)
	if !ok {
		return nil
	}
	return s.Instances
}

func TestRecordEqual(t *testing.T) {
	encode := func(layout Layout, edit func(*Instance)) Record {
		r, err := Encode("/services", layout, full(edit))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, layout := range Layouts() {
		r := encode(layout, nil)
		if !r.Equal(encode(layout, nil)) {
			t.Errorf("%s: a record is not equal to its like", layout)
		}
		if !r.Equal(encode(layout, func(i *Instance) { i.Started = i.Started.Add(time.Millisecond).Local(); i.Path = "/shop/" })) {
			t.Errorf("%s: two ways to say the same are not equal", layout)
		}
		for name, edit := range map[string]func(*Instance){
			"port": func(i *Instance) { i.Port++ }, "name": func(i *Instance) { i.Name = "web2" }, "service": func(i *Instance) { i.Service = "api" },
		} {
			if r.Equal(encode(layout, edit)) {
				t.Errorf("%s: records that differ in %s are equal", layout, name)
			}
		}
	}
	more := encode(LayoutDirectory, nil)
	more.Values = maps.Clone(more.Values)
	more.Values["/services/web/web1/x"] = ""
	if r := encode(LayoutDirectory, nil); r.Equal(more) || more.Equal(r) {
		t.Error("a record with one more empty key is equal")
	}
}

func TestCleanPrefix(t *testing.T) {
	for in, want := range map[string]string{
		"/services": "/services", "services": "/services", "/services/": "/services", "//services//": "/services", "/applications/sample": "/applications/sample",
		"/rollcall2": "/rollcall2", "/a/rollcall": "/a/rollcall", "a b": "/a b",
	} {
		if got, err := CleanPrefix(in); err != nil || got != want {
			t.Errorf("CleanPrefix(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/", "///", "/a//b", "/.", "/a/../b", "/a\nb", "/a\x00", "/\xff", "/\u202ea", "/rollcall", "rollcall/", "/rollcall/renderers", strings.Repeat("a", 300)} {
		if got, err := CleanPrefix(in); err == nil {
			t.Errorf("CleanPrefix(%q) = %q, want an error", in, got)
		} else {
			checkReason(t, in, err.Error())
		}
	}
}

func TestParseLayout(t *testing.T) {
	for _, want := range Layouts() {
		if got, err := ParseLayout(string(want)); err != nil || got != want {
			t.Errorf("ParseLayout(%q) = %q, %v", want, got, err)
		}
	}
	for _, s := range []string{"", "JSON", "json ", "skydns"} {
		if got, err := ParseLayout(s); err == nil {
			t.Errorf("ParseLayout(%q) = %q, want an error", s, got)
		}
	}
	if Layouts()[0] != LayoutJSON {
		t.Errorf("the default layout is %s", Layouts()[0])
	}
}
