package discovery

import (
	"strings"
	"testing"
)

// hostile is what a careless or malicious writer may put where one word is expected.
// None of it may pass as a name, a host, a path or a port.
var hostile = []string{
	"web\n", "we\nb", "web\r", "web;", "web{", "web}", "$web", "${web}", "web\x00", `we"b`, "we'b", "we`b", `we\b`, `web\`,
	"we b", " web", "web ", "\tweb", "web#", "web<", "%77eb", "web\x7f", "web\x1b[31m", "web\xff", "web\u0085", "web\u2028", "web\u2029",
	"web\u202e", "web\u2066", "web\u200b", "web\u200d", "\ufeffweb", "wéb", "ｗｅｂ", "wеb", "http://web", "web?", "web*", "web,web", "web@", "(web)",
	strings.Repeat("a", 300),
}

func TestValidateName(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a": true, "0": true, "web": true, "web-1": true, "web_1": true, "web.v2": true, "a--b": true, "a..b": true, "1-2": true,
		label: true, label + "." + label: true, strings.Repeat("a.", 126) + "a": true,
		"": false, ".": false, "..": false, "-web": false, "web-": false, "_web": false, "web_": false, ".web": false, "web.": false,
		"Web": false, "web:80": false, "a/b": false, label + "a": false, label + "a.b": false, strings.Repeat("a.", 127): false,
		strings.Repeat("a.", 127) + "a": false,
	} {
		if err := ValidateName(name); (err == nil) != want {
			t.Errorf("ValidateName(%q) = %v, want valid %v", name, err, want)
		}
	}
	for _, name := range hostile {
		if ValidateName(name) == nil {
			t.Errorf("ValidateName(%q) accepts it", name)
		}
	}
}

func TestValidateInstanceName(t *testing.T) {
	for name, want := range map[string]bool{
		"web1": true, "core-01:web1:80": true, "core-01:web1:53:udp": true, "a:b": true,
		"": false, ":": false, "a:": false, ":a": false, "a::b": false, "A:b": false, "a:-b": false,
		strings.Repeat("a:", 126) + "a": true, strings.Repeat("a:", 127) + "a": false,
	} {
		if err := ValidateInstanceName(name); (err == nil) != want {
			t.Errorf("ValidateInstanceName(%q) = %v, want valid %v", name, err, want)
		}
	}
	for _, name := range hostile {
		if ValidateInstanceName("a:"+name) == nil {
			t.Errorf("ValidateInstanceName(%q) accepts it", "a:"+name)
		}
	}
}

func TestCanonicalHost(t *testing.T) {
	for host, want := range map[string]string{
		"10.0.0.5": "10.0.0.5", "127.0.0.1": "127.0.0.1", "169.254.1.2": "169.254.1.2",
		"2001:DB8:0:0::5": "2001:db8::5", "::1": "::1", "fd00::1": "fd00::1", "::ffff:10.0.0.5": "10.0.0.5",
		"web": "web", "WEB.Example.COM": "web.example.com", "web.example.com.": "web.example.com", "3com.com": "3com.com",
		"a-b.c": "a-b.c", "ip-10-182-139-116": "ip-10-182-139-116", "xn--wb-bja": "xn--wb-bja", "0xg": "0xg", "1.0x.com": "1.0x.com",
	} {
		got, err := CanonicalHost(host)
		if err != nil || got != want {
			t.Errorf("CanonicalHost(%q) = %q, %v, want %q", host, got, err, want)
		}
	}
	refused := []string{
		"", ".", "..", "a..b", ".a", "a..", "-a", "a-", "a.-b", "a_b",
		"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:0.0.0.0", "::ffff:224.0.0.1",
		"fe80::1", "fe80::1%eth0", "2001:db8::5%eth0", "::ffff:10.0.0.5%eth0", "[2001:db8::5]", "[::1]:80",
		"127.1", "10.0.0", "10.0.0.256", "10.0.0.05", "1.2.3.4.5", "2130706433", "0x7f000001", "0x7f.1", "127.0x1", "0x", "10.0.0.5:80", "web:80", "web:",
		"http://10.0.0.5", "http://10.0.0.5:80/", "10.0.0.5/24", "user@web", strings.Repeat("a", 64), strings.Repeat("a.", 126) + "ab",
	}
	for _, host := range append(refused, hostile...) {
		if got, err := CanonicalHost(host); err == nil {
			t.Errorf("CanonicalHost(%q) = %q, want an error", host, got)
		}
	}
}

func TestCanonicalHostName(t *testing.T) {
	if got, err := CanonicalHostName("WWW.example.com."); err != nil || got != "www.example.com" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, name := range append([]string{"", "*", "*.example.com", "~^www", "_", "10.0.0.5", "::1", "a:80"}, hostile...) {
		if got, err := CanonicalHostName(name); err == nil {
			t.Errorf("CanonicalHostName(%q) = %q, want an error", name, got)
		}
	}
}

func TestCanonicalPath(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/": "", "/shop": "/shop", "/shop/": "/shop", "/a/b-c/d_e/F.g~1": "/a/b-c/d_e/F.g~1", "/...": "/...", "/.well-known": "/.well-known",
	} {
		got, err := CanonicalPath(path)
		if err != nil || got != want {
			t.Errorf("CanonicalPath(%q) = %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"shop", "//", "///", "//a", "/a//b", "/a//", "/.", "/..", "/a/../b", "/a/./b", "/a?b", "/a%2e", "/" + strings.Repeat("a", 253), "~ /a", "/*", "/a:b"} {
		if got, err := CanonicalPath(path); err == nil {
			t.Errorf("CanonicalPath(%q) = %q, want an error", path, got)
		}
	}
	for _, seg := range hostile {
		if got, err := CanonicalPath("/" + seg); err == nil {
			t.Errorf("CanonicalPath(%q) = %q, want an error", "/"+seg, got)
		}
	}
}

func TestParsePort(t *testing.T) {
	for s, want := range map[string]uint16{"1": 1, "80": 80, "0080": 80, "65535": 65535} {
		if got, err := ParsePort(s); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	refused := []string{"", "0", "00", "-1", "+80", "65536", "80.0", "8e1", "0x50", "1_0", " 80", "80 ", "80\n", "٨٠", "http", strings.Repeat("9", 100_000)}
	for _, s := range append(refused, hostile...) {
		got, err := ParsePort(s)
		if err == nil {
			t.Errorf("ParsePort(%q) = %d, want an error", s, got)
		} else if len(err.Error()) > maxReason {
			t.Errorf("ParsePort(%.20q…): an error of %d bytes", s, len(err.Error()))
		}
	}
}

// maxReason is what an error about outside data may fill of a log: it quotes, in
// ASCII, at most 80 bytes of anything it names.
const maxReason = 600

func TestValidateText(t *testing.T) {
	for _, s := range []string{"", "52c7248a14", "v1.2 (build 7)", `say "hi"; {$x} 'y' #`, "größe 東京 🚀", strings.Repeat("a", 256), `C:\x`} {
		if err := validateText(s, maxText); err != nil {
			t.Errorf("validateText(%q) = %v", s, err)
		}
	}
	for _, s := range []string{
		"a\nb", "a\rb", "a\tb", "a\x00", "\x1b[0m", "a\x7f", "a\u0085", "a\u00a0b", "a\u2028b", "a\u2029b", "\u202eabc", "\u2066abc", "a\u200b", "a\ufeff", "\xff", "a\xc3",
		"\xed\xa0\x80", "\ue000", "\U000e0041", `a\`, strings.Repeat("a", 257),
	} {
		if validateText(s, maxText) == nil {
			t.Errorf("validateText(%q) accepts it", s)
		}
	}
}
