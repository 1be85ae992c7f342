package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// instance gives an instance with the defaults of a record, changed by edit.
func instance(edit func(*Instance)) *Instance {
	i := &Instance{Service: "web", Name: "web1", Host: "10.0.0.5", Port: 32768, Proto: "tcp", Weight: DefaultWeight}
	if edit != nil {
		edit(i)
	}
	return i
}

func TestDecodeRecord(t *testing.T) {
	plain := instance(nil)
	tests := []struct {
		name, value string
		want        *Instance
	}{
		{"classic sidekick", `{ "host": "ip-10-182-139-116", "port": 80, "version": "52c7248a14" }`, instance(func(i *Instance) {
			i.Host, i.Port, i.Version = "ip-10-182-139-116", 80, "52c7248a14"
		})},
		{"host and port only", `{"host":"10.0.0.5","port":32768}`, plain},
		{"port as digits in quotes", `{"host":"10.0.0.5","port":"32768"}`, plain},
		{"surrounded by blanks", "\n\t {\"host\":\"10.0.0.5\",\n\"port\":32768}\r\n", plain},
		{"nulls and empties", `{"host":"10.0.0.5","port":32768,"weight":null,"proto":"","started":"","hosts":null,"hosts":[],"path":"/","meta":null}`, plain},
		{"a field twice: the last counts", `{"host":"a","port":1,"port":32768,"host":"10.0.0.5"}`, plain},
		{"weight 0", `{"host":"10.0.0.5","port":32768,"weight":0}`, instance(func(i *Instance) { i.Weight = 0 })},
		{"udp", `{"host":"10.0.0.5","port":32768,"proto":"udp"}`, instance(func(i *Instance) { i.Proto = "udp" })},
		{
			"everything", `{"host":"2001:DB8::0:5","port":32768,"version":" 52c7248a14 ","proto":"tcp","weight":256,"node":"core-01","machine":"0af3","container":"c0ffee",
			"started":"2026-01-02T05:04:05.678+02:00","hosts":["WWW.example.com.","www.example.com","b.example.com"],"path":"/shop/","meta":{"team":" \"a\"; {b} $c ","empty":""}}`,
			instance(func(i *Instance) {
				i.Host, i.Version, i.Weight, i.Node, i.Machine, i.Container = "2001:db8::5", "52c7248a14", 256, "core-01", "0af3", "c0ffee"
				i.Started = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
				i.Hosts, i.Path = []string{"www.example.com", "b.example.com"}, "/shop"
				i.Meta = map[string]string{"team": `"a"; {b} $c`, "empty": ""}
			}),
		},
		{"unknown fields are kept", `{"host":"10.0.0.5","port":32768,"ttl":60,"tags":["a", "b"],"x":{"y": null}, "s": "t\u000a"}`, instance(func(i *Instance) {
			i.Extra = map[string]string{"ttl": "60", "tags": `["a","b"]`, "x": `{"y":null}`, "s": `"t\u000a"`}
		})},
		{"unknown fields that cannot be printed are left out", `{"host":"10.0.0.5","port":32768,"a":"` + "\u202e" + `","` + "\u2028" + `":1,"":2,"b":"` + strings.Repeat("b", 5000) + `"}`, plain},

		{"host:port", "10.0.0.5:32768", plain},
		{"host:port with a newline", "10.0.0.5:32768\n", plain},
		{"name:port", "Core-01.example.com:32768", instance(func(i *Instance) { i.Host = "core-01.example.com" })},
		{"IPv6", "[2001:DB8::5]:32768", instance(func(i *Instance) { i.Host = "2001:db8::5" })},
		{"IPv4 in IPv6", "[::ffff:10.0.0.5]:32768", plain},

		{"URL", "http://10.0.0.5:32768", plain},
		{"URL with a slash", "HTTP://10.0.0.5:32768/", plain},
		{"URL, port of the scheme", "http://web", instance(func(i *Instance) { i.Host, i.Port = "web", 80 })},
		{"URL, WebSocket", "ws://web:8080", instance(func(i *Instance) { i.Host, i.Port = "web", 8080 })},
		{"URL, IPv6", "tcp://[2001:db8::5]:32768", instance(func(i *Instance) { i.Host = "2001:db8::5" })},
		{"URL, udp", "udp://10.0.0.5:32768", instance(func(i *Instance) { i.Proto = "udp" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeRecord("web", "web1", []byte(tt.value))
			if err != nil {
				t.Fatalf("DecodeRecord: %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeRecordOfRegistrator(t *testing.T) {
	for _, tt := range []struct{ name, value, host, proto string }{
		{"core-01:web1:80", "10.0.0.5:32768", "10.0.0.5", "tcp"},
		{"core-01:web1:80", "[2001:db8::5]:32768", "2001:db8::5", "tcp"},
		{"core-01:web1:53:udp", "10.0.0.5:32768", "10.0.0.5", "udp"},
		{"core-01:web1:53:udp", `{"host":"10.0.0.5","port":32768}`, "10.0.0.5", "tcp"}, // a record with fields says it itself
		{"udp", "10.0.0.5:32768", "10.0.0.5", "tcp"},
	} {
		got, err := DecodeRecord("web", tt.name, []byte(tt.value))
		if err != nil {
			t.Errorf("%s %s: %v", tt.name, tt.value, err)
			continue
		}
		if got.Host != tt.host || got.Proto != tt.proto || got.Port != 32768 || got.Name != tt.name {
			t.Errorf("%s %s: got %+v, want host %s, proto %s", tt.name, tt.value, got, tt.host, tt.proto)
		}
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	field := func(s string) string { return `{"host":"10.0.0.5","port":80,` + s + `}` }
	many := func(n int, f string) string { return strings.TrimSuffix(strings.Repeat(f+",", n), ",") }
	keys := func(n int) (s []string) {
		for k := range n {
			s = append(s, fmt.Sprintf(`"k%d":"v"`, k))
		}
		return s
	}
	values := []string{
		"", " \n", "web", "10.0.0.5", ":80", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:-1", "10.0.0.5:80.5", "10.0.0.5:65536", "10.0.0.5:http", "10.0.0.5: 80",
		"2001:db8::5", "2001:db8::5:80", "[2001:db8::5]", "[2001:db8::5]80", "[10.0.0.5]:80", "[web]:80", "[::1]]:80", "[[::1]:80", "[]:80", "[fe80::1%25eth0]:80",
		"10.0.0.5:80;", "10.0.0.5:80\n10.0.0.6:80", "10.0.0.5:80,10.0.0.6:80", "10.0.0.5:80 weight=5", "\ufeff10.0.0.5:80", "10.0.0.5\x00:80", "0.0.0.0:80",
		"http://", "http://:80", "http://10.0.0.5:0", "http://10.0.0.5:99999", "http://10.0.0.5/path", "http://10.0.0.5?q", "http://10.0.0.5#f", "http://u:p@10.0.0.5",
		"https://10.0.0.5", "wss://10.0.0.5", "unix:///run/web.sock", "tcp://10.0.0.5", "udp://10.0.0.5", "://10.0.0.5:80", "ftp://10.0.0.5:21", "http://10.0.0.5:80\nx", "http:x://y", "http://a b",
		"[]", "null", `"10.0.0.5:80"`, "[" + `{"host":"10.0.0.5","port":80}` + "]",
		"{", "{}", "{}{}", `{"host":"10.0.0.5"}`, `{"port":80}`, `{"host":"","port":80}`, `{"host":null,"port":80}`, `{"host":"10.0.0.5","port":null}`,
		`{"host":5,"port":80}`, `{"host":["10.0.0.5"],"port":80}`, `{"host":"10.0.0.5","port":80}x`, `{"host":"10.0.0.5","port":80,}`, `{'host':'10.0.0.5','port':80}`,
		`{"value":"10.0.0.9"}`, `{"Op":0,"Addr":"10.0.0.1:8080","Metadata":null}`, `{"URL":"http://10.0.0.1:32768"}`,
		`{"host":"http://10.0.0.5","port":80}`, `{"host":"10.0.0.5:80","port":80}`, `{"host":"10.0.0.5\n","port":80}`, `{"host":"10.0.0.5\u0000","port":80}`, `{"host":"a;b","port":80}`, `{"host":" 10.0.0.5","port":80}`,
		`{"host":"10.0.0.5","port":0}`, `{"host":"10.0.0.5","port":-80}`, `{"host":"10.0.0.5","port":80.0}`, `{"host":"10.0.0.5","port":8e1}`, `{"host":"10.0.0.5","port":"80 "}`, `{"host":"10.0.0.5","port":[80]}`,
		`{"host":"10.0.0.5","port":{}}`, `{"host":"10.0.0.5","port":true}`, `{"host":"10.0.0.5","port":1e400}`, `{"host":"10.0.0.5","port":18446744073709551696}`, `{"host":"10.0.0.5","port":` + strings.Repeat("8", 60_000) + `}`,
		field(`"weight":-1`), field(`"weight":257`), field(`"weight":1.5`), field(`"weight":"100"`), field(`"weight":` + strings.Repeat("1", 60_000)), field(`"weight":1e999999`),
		field(`"proto":"TCP"`), field(`"proto":"sctp"`), field(`"proto":"tcp\n"`), field(`"started":"yesterday"`), field(`"started":1767323045`), field(`"started":"` + strings.Repeat("2", 60_000) + `"`),
		field(`"started":"9999-12-31T23:59:59-12:00"`), field(`"started":"0000-01-01T00:00:00Z"`),
		field(`"version":"a\nb"`), field(`"version":"\u202eabc"`), field(`"version":"a\\"`), field(`"version":52`), field(`"version":"` + strings.Repeat("v", 257) + `"`), field("\"version\":\"\xff\""), field("\"x\":\"\xff\""),
		field(`"version":"\ud800"`) + "x", field(`"node":"a\u2028b"`), field(`"machine":"\u0000"`), field(`"container":"\u001b[2J"`),
		field(`"hosts":"www.example.com"`), field(`"hosts":[""]`), field(`"hosts":["*.example.com"]`), field(`"hosts":["a;b"]`), field(`"hosts":["${HOST}"]`), field(`"hosts":[` + many(65, `"a"`) + `]`),
		field(`"path":"shop"`), field(`"path":"/a/../b"`), field(`"path":"/a;return 200"`), field(`"path":"/a\n"`), field(`"path":"/$uri"`),
		field(`"meta":"x"`), field(`"meta":{"a":1}`), field(`"meta":{"":"x"}`), field(`"meta":{"a":"b\nc"}`), field(`"meta":{"a\nb":"c"}`), field(`"meta":{"a":"` + strings.Repeat("v", 4097) + `"}`), field(`"meta":{` + strings.Join(keys(65), ",") + `}`),
		field(`"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)), strings.Repeat(`{"a":`, 12_000),
		field(`"x":"` + strings.Repeat("x", maxRecord) + `"`), strings.Repeat(" ", maxRecord) + "10.0.0.5:80",
	}
	for _, host := range hostile {
		values = append(values, "x"+host+":80")
	}
	for _, value := range values {
		got, err := DecodeRecord("web", "web1", []byte(value))
		if err == nil {
			t.Errorf("DecodeRecord(%.80q) = %+v, want an error", value, got)
			continue
		}
		checkReason(t, value, err.Error())
	}
}

// checkReason holds an error about outside data to what a log and a terminal can bear.
func checkReason(t *testing.T, about, reason string) {
	t.Helper()
	if len(reason) == 0 || len(reason) > maxReason {
		t.Errorf("%.80q: a reason of %d bytes: %.200q", about, len(reason), reason)
	}
	if strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		t.Errorf("%.80q: the reason cannot be printed: %.200q", about, reason)
	}
}

func TestDecodeRecordRefusesNames(t *testing.T) {
	for _, name := range append([]string{"", "..", "a/b", "WEB"}, hostile...) {
		if _, err := DecodeRecord(name, "web1", []byte("10.0.0.5:80")); err == nil {
			t.Errorf("service %q is accepted", name)
		} else {
			checkReason(t, name, err.Error())
		}
		if _, err := DecodeRecord("web", name, []byte("10.0.0.5:80")); err == nil {
			t.Errorf("instance %q is accepted", name)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for host, want := range map[string]string{"10.0.0.5": "10.0.0.5:32768", "2001:db8::5": "[2001:db8::5]:32768", "web": "web:32768"} {
		i := instance(func(i *Instance) { i.Host = host })
		if got := i.Endpoint(); got != want {
			t.Errorf("Endpoint of %s = %s, want %s", host, got, want)
		}
		if _, ok := i.Addr(); ok != (host != "web") {
			t.Errorf("Addr of %s: ok = %v", host, ok)
		}
		if host, port, err := SplitHostPort(want); err != nil || host != i.Host || port != i.Port {
			t.Errorf("SplitHostPort(%s) = %s, %d, %v", want, host, port, err)
		}
	}
}
