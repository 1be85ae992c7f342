package inputs

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLayouts has certificates in every place where one may be.
func TestLayouts(t *testing.T) {
	dir, archive := t.TempDir(), t.TempDir()
	files := map[string]string{"README": "certbot's", ".hidden.crt": "x", "old.example.crt~": "x"}
	want := map[string]string{}
	add := func(host string, layout func(chain, key []byte)) {
		chain, key := pair(t, host)
		want[host] = join(chain, key)
		layout(chain, key)
	}
	add("a.example", func(chain, key []byte) { files["a.example.crt"], files["a.example.key"] = string(chain), string(key) })
	add("b.example", func(chain, key []byte) { files["b.example.pem"], files["b.example.key"] = string(chain), string(key) })
	add("c.example", func(chain, key []byte) { files["c.example.pem"] = join(key, chain) })
	add("d.example", func(chain, key []byte) {
		files["D.Example.crt"], files["D.Example.pem"] = string(chain), join(chain, key) // one for HAProxy, one for others
	})
	add("*.example", func(chain, key []byte) { files["_.example.crt"], files["_.example.key"] = string(chain), string(key) })
	add("", func(chain, key []byte) { files["default.crt"], files["default.key"] = string(chain), string(key) })
	add("e.example", func(chain, key []byte) {
		write(t, archive, map[string]string{"fullchain1.pem": string(chain), "privkey1.pem": string(key)})
		for _, name := range []string{"fullchain", "privkey"} {
			if err := os.MkdirAll(filepath.Join(dir, "e.example"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(archive, name+"1.pem"), filepath.Join(dir, "e.example", name+".pem")); err != nil {
				t.Fatal(err)
			}
		}
	})
	write(t, dir, files)
	s := load(t, newFiles(func(c *Config) { c.Certs = dir }))
	got := map[string]string{}
	for _, p := range s.Pairs {
		got[p.Name] = string(p.PEM)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "*.example", "a.example", "b.example", "c.example", "d.example", "e.example"}, s.names()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if len(s.Refused)+len(s.Warnings) > 0 {
		t.Errorf("refused %v, warnings %v", s.Refused, s.Warnings)
	}
}

// TestRefusedPairs has one bad pair of each kind beside a good one.
func TestRefusedPairs(t *testing.T) {
	chain, key := pair(t, "www.example")
	_, other := pair(t, "www.example")
	for _, tc := range []struct {
		name   string
		files  map[string]string
		file   string // that is to blame
		reason string // part of it
	}{
		{"no key", map[string]string{"www.example.crt": string(chain)}, "www.example.crt", "no private key"},
		{"no certificate", map[string]string{"www.example.key": string(key)}, "www.example.pem", "no such file"},
		{"another key", map[string]string{"www.example.crt": string(chain), "www.example.key": string(other)}, "www.example.crt", "does not match"},
		{"an encrypted key", map[string]string{"www.example.crt": string(chain), "www.example.key": string(block("ENCRYPTED PRIVATE KEY", []byte("x")))}, "www.example.key", "openssl pkey"},
		{"no PEM", map[string]string{"www.example.pem": "\x30\x82"}, "www.example.pem", "PEM"},
		{"cut off", map[string]string{"www.example.pem": join(key, chain[:len(chain)/2])}, "www.example.pem", "PEM"},
		{"empty", map[string]string{"www.example.crt": "", "www.example.key": ""}, "www.example.crt", "PEM"},
		{"too long", map[string]string{"www.example.pem": strings.Repeat("x", maxFile+1)}, "www.example.pem", "longer"},
		{"too many", map[string]string{"www.example.pem": join(key, []byte(strings.Repeat(string(chain), maxChain+1)))}, "www.example.pem", "more than"},
		{"no host name", map[string]string{"www;.pem": join(chain, key)}, "www;.pem", "host"},
		{"an address", map[string]string{"192.0.2.1.pem": join(chain, key)}, "192.0.2.1.pem", "address"},
		{"a bare star", map[string]string{"_.pem": join(chain, key)}, "_.pem", "host"},
		{"twice", map[string]string{"good.example/fullchain.pem": string(chain), "good.example/privkey.pem": string(key)}, "good.example/fullchain.pem", "same name"},
		{"an empty directory", map[string]string{"www.example/README": ""}, "www.example/fullchain.pem", "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			goodChain, goodKey := pair(t, "good.example")
			write(t, dir, map[string]string{"good.example.crt": string(goodChain), "good.example.key": string(goodKey)})
			write(t, dir, tc.files)
			s := load(t, newFiles(func(c *Config) { c.Certs = dir }))
			if diff := cmp.Diff([]string{"good.example"}, s.names()); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if len(s.Refused) != 1 || s.Refused[0].File != filepath.Join(dir, tc.file) || !strings.Contains(s.Refused[0].Reason, tc.reason) {
				t.Errorf("refused %q, want %s for %q", s.Refused, tc.file, tc.reason)
			}
		})
	}
}

// TestRenewal walks a pair through what certbot, an operator and accidents do to it.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	chain1, key1 := pair(t, "www.example")
	chain2, key2 := pair(t, "www.example")
	f := newFiles(func(c *Config) { c.Certs = dir })
	crt, key := filepath.Join(dir, "www.example.crt"), filepath.Join(dir, "www.example.key")
	var id string
	for _, step := range []struct {
		name    string
		do      func() error
		want    string // PEM
		refused string // the file
	}{
		{"new", func() error { return setPair(crt, chain1, key, key1) }, join(chain1, key1), ""},
		{"half", func() error { return os.WriteFile(crt, chain2, 0o600) }, join(chain1, key1), crt},
		{"whole", func() error { return os.WriteFile(key, key2, 0o600) }, join(chain2, key2), ""},
		{"key gone", func() error { return os.Remove(key) }, join(chain2, key2), crt},
		{"both gone", func() error { return os.Remove(crt) }, "", ""},
		{"bad from the start", func() error { return os.WriteFile(crt, chain1, 0o600) }, "", crt},
		{"good", func() error { return setPair(crt, chain1, key, key1) }, join(chain1, key1), ""},
		{"directory gone", func() error { return os.Rename(dir, dir+".away") }, join(chain1, key1), dir},
		{"directory back", func() error { return os.Rename(dir+".away", dir) }, join(chain1, key1), ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		s := load(t, f)
		got := ""
		for _, p := range s.Pairs {
			got += string(p.PEM)
		}
		if got != step.want {
			t.Errorf("%s: got\n%s\nwant\n%s", step.name, got, step.want)
		}
		if step.refused == "" && len(s.Refused) > 0 || step.refused != "" && (len(s.Refused) != 1 || s.Refused[0].File != step.refused) {
			t.Errorf("%s: refused %q, want %q", step.name, s.Refused, step.refused)
		}
		if again := load(t, f); again.ID != s.ID {
			t.Errorf("%s: read again, it is %s instead of %s", step.name, again.ID, s.ID)
		}
		if step.name == "half" && s.ID != id {
			t.Errorf("%s: what is served is the same, but the ID is not", step.name)
		}
		id = s.ID
	}
}

func setPair(crt string, chain []byte, key string, private []byte) error {
	if err := os.WriteFile(crt, chain, 0o600); err != nil {
		return err
	}
	return os.WriteFile(key, private, 0o600)
}

// TestWarnings has pairs that servers serve, and clients mind.
func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	expired, early := certificate("a.example"), certificate("b.example")
	expired.NotAfter = expired.NotBefore.Add(1)
	early.NotBefore = early.NotAfter.Add(-1)
	for name, c := range map[string]*x509.Certificate{"a.example": expired, "b.example": early, "c.example": certificate("elsewhere.example"), "*.d.example": certificate("*.d.example")} {
		chain, key := selfSigned(t, c, newKey(t))
		write(t, dir, map[string]string{name + ".pem": join(chain, key)})
	}
	s := load(t, newFiles(func(c *Config) { c.Certs = dir }))
	want := []Warning{
		{filepath.Join(dir, "a.example.pem"), "expired at "},
		{filepath.Join(dir, "b.example.pem"), "is not valid before "},
		{filepath.Join(dir, "c.example.pem"), `does not cover c.example; it covers ["elsewhere.example"]`},
	}
	for i, w := range s.Warnings {
		if i < len(want) && strings.HasPrefix(w.Reason, want[i].Reason) {
			s.Warnings[i].Reason = want[i].Reason
		}
	}
	if diff := cmp.Diff(want, s.Warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(s.Pairs) != 4 {
		t.Errorf("got %d pairs, want 4", len(s.Pairs))
	}
}
