package discovery

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What may stand in a configuration, said independently of the code that checks it.
var (
	namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)
	hostPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	pathPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)
)

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return len(s) <= 253 && (err == nil || hostPattern.MatchString(s))
}

// isLine says whether a text can neither end a line or a comment nor fool a terminal.
func isLine(s string) bool {
	return utf8.ValidString(s) && !strings.HasSuffix(s, `\`) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp, unicode.Cf)
	})
}

// checkInstance holds an accepted instance to what the package promises to those below.
func checkInstance(t *testing.T, i *Instance) {
	t.Helper()
	names := append(strings.Split(i.Name, ":"), i.Service)
	for _, name := range names {
		if !namePattern.MatchString(name) || len(name) > 253 {
			t.Errorf("name %q", name)
		}
		for label := range strings.SplitSeq(name, ".") {
			if len(label) > 63 {
				t.Errorf("name %q has a long label", name)
			}
		}
	}
	if !isHost(i.Host) || i.Port == 0 || i.Proto != "tcp" && i.Proto != "udp" || i.Weight < 0 || i.Weight > 256 || !pathPattern.MatchString(i.Path) {
		t.Errorf("host, port, proto, weight or path of %+v", i)
	}
	for _, host := range i.Hosts {
		if !hostPattern.MatchString(host) {
			t.Errorf("host name %q", host)
		}
	}
	texts := map[string]string{"version": i.Version, "node": i.Node, "machine": i.Machine, "container": i.Container}
	for k, v := range i.Meta {
		texts["meta key "+k], texts["meta "+k] = k, v
	}
	for k, v := range i.Extra {
		texts["extra key "+k], texts["extra "+k] = k, v
	}
	for field, text := range texts {
		if !isLine(text) {
			t.Errorf("%q is %q", field, text)
		}
	}
}

// checkRoundTrip writes an accepted instance in every layout and reads it back.
func checkRoundTrip(t *testing.T, i *Instance) {
	t.Helper()
	for _, layout := range Layouts() {
		r, err := Encode("/services", layout, i)
		switch {
		case err != nil && layout == LayoutJSON && strings.Contains(err.Error(), "would be longer"):
			continue // JSON may take more room than what it was read from
		case err != nil && layout == LayoutHostPort && (i.Proto == "udp") != strings.HasSuffix(i.Name, ":udp"):
			continue
		case err != nil:
			t.Errorf("%s: an accepted instance cannot be written: %v", layout, err)
			continue
		}
		want := i.clone()
		want.Extra, want.Revision = nil, 0
		switch layout {
		case LayoutJSON:
		case LayoutHostPort:
			want = &Instance{Service: i.Service, Name: i.Name, Host: i.Host, Port: i.Port, Proto: i.Proto, Weight: DefaultWeight}
		case LayoutDirectory:
			for k := range want.Meta {
				if strings.Contains(k, "/") {
					delete(want.Meta, k)
				}
			}
		}
		if diff := cmp.Diff([]*Instance{want}, read(t, r), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", layout, diff)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, value := range []string{
		`{ "host": "ip-10-182-139-116", "port": 80, "version": "52c7248a14" }`, `{"host":"10.0.0.5","port":"80","weight":0,"x":{"y":[1,null]}}`,
		`{"host":"2001:DB8::5","port":80,"proto":"udp","node":"a","machine":"b","container":"c","started":"2026-01-02T05:04:05.6+02:00","hosts":["A.b.","a.b"],"path":"/a/","meta":{"a/b":" c ","d":""}}`,
		"10.0.0.5:80", "[2001:db8::5]:80", "[::ffff:10.0.0.5%eth0]:80", "http://web", "udp://[::1]:53/", `{"port":1e2}`, "\ufeff", `{"host":"a","port":80,"meta":{"a":"b\\"}}`,
	} {
		f.Add("web", "web1", []byte(value))
		f.Add("web.v2", "core-01:web1:53:udp", []byte(value))
	}
	f.Add("Web", "a:", []byte("10.0.0.5:80"))
	f.Fuzz(func(t *testing.T, service, name string, value []byte) {
		i, err := DecodeRecord(service, name, value)
		if err != nil {
			checkReason(t, string(value), err.Error())
			return
		}
		checkInstance(t, i)
		checkRoundTrip(t, i)
		again := i.clone()
		if err := again.canonicalize(); err != nil {
			t.Errorf("an accepted instance is refused: %v", err)
		}
		if diff := cmp.Diff(i, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("an accepted instance is not canonical: %s", diff)
		}
	})
}

// FuzzAssembler plays a history, one byte an operation, over a few good and bad
// keys and values and one of each that the fuzzer makes up.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 255, 5, 6}, "/services/web/a", "10.0.0.5:80")
	f.Add([]byte("a directory that grows, shrinks and is hidden"), "/services/web/a/meta.x", "\n")
	f.Add([]byte{7, 7 + 16, 7 + 32, 7 + 64, 7 + 128}, "/services//\xff/x", `{"host":"a","port":1}`)
	f.Fuzz(func(t *testing.T, ops []byte, key, value string) {
		keys := []string{
			"/services/web/a", "/services/web/a/host", "/services/web/a/port", "/services/web/b", "/services/api/a", "/services/web", "/services2/web/a", key,
		}
		values := []string{"10.0.0.5:80", `{"host":"10.0.0.6","port":"81"}`, "80", "core-01", "", "{", value}
		h := newHistory()
		for _, op := range ops[:min(len(ops), 200)] {
			key, op := keys[op%8], int(op/8)
			switch {
			case op < 8:
				h.delete(key)
			case op < 28:
				h.put(key, values[op%len(values)], 0)
			default:
				checkCatalog(t, h.check(t))
			}
		}
		checkCatalog(t, h.check(t))
		for key := range h.keys {
			h.delete(key)
		}
		h.check(t)
		checkEmpty(t, h.assembler)
	})
}

func checkCatalog(t *testing.T, c *Catalog) {
	t.Helper()
	for _, s := range c.Services {
		for _, i := range s.Instances {
			if i.Service != s.Name {
				t.Errorf("%s is in service %s", i.ID(), s.Name)
			}
			checkInstance(t, i)
		}
	}
	for _, r := range c.Refused {
		checkReason(t, r.Key, r.Reason)
	}
}

func FuzzCanonicalPath(f *testing.F) {
	for _, s := range append([]string{"", "/", "/a/", "/a//b", "/../a", "/.well-known/x~"}, hostile...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, err := CanonicalPath(s)
		if err != nil {
			checkReason(t, s, err.Error())
			return
		}
		if !pathPattern.MatchString(path) || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
			t.Errorf("CanonicalPath(%q) = %q", s, path)
		}
		if again, err := CanonicalPath(path); again != path || err != nil {
			t.Errorf("CanonicalPath(%q) = %q, %v: not what it was", path, again, err)
		}
	})
}

func FuzzCanonicalHost(f *testing.F) {
	for _, s := range append([]string{"10.0.0.5", "2001:DB8::5", "::ffff:1.2.3.4%x", "WEB.example.", "0x7f.1", "fe80::1"}, hostile...) {
		f.Add(s, uint16(80))
	}
	f.Fuzz(func(t *testing.T, s string, port uint16) {
		host, err := CanonicalHost(s)
		if err != nil {
			checkReason(t, s, err.Error())
			return
		}
		if !isHost(host) || strings.ContainsAny(host, "%[]") {
			t.Errorf("CanonicalHost(%q) = %q", s, host)
		}
		if again, err := CanonicalHost(host); again != host || err != nil {
			t.Errorf("CanonicalHost(%q) = %q, %v: not what it was", host, again, err)
		}
		endpoint := JoinHostPort(host, max(port, 1))
		if h, p, err := SplitHostPort(endpoint); h != host || p != max(port, 1) || err != nil {
			t.Errorf("SplitHostPort(%q) = %q, %d, %v", endpoint, h, p, err)
		}
		if fmt.Sprintf("%+q", host) != `"`+host+`"` {
			t.Errorf("host %q is not plain ASCII", host)
		}
	})
}
