package units

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "": `""`, "a b": `"a b"`, "50%": "50%%", "$x": "$$x", `a"b`: `"a\"b"`, `a\b`: `"a\\b"`, "it's": `"it's"`,
		";": `";"`, "#": `"#"`, "a;b": "a;b", "a\nb": `"a\x0ab"`, "ä": "ä",
	} {
		if got := Quote(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// What systemd.service(5) says of command lines.
func TestCommands(t *testing.T) {
	for line, want := range map[string][][]string{
		`/bin/echo one ; /bin/echo "two two"`: {{"/bin/echo", "one"}, {"/bin/echo", "two two"}},
		`echo / >/dev/null & \; ls`:           {{"echo", "/", ">/dev/null", "&", ";", "ls"}},
		`-+/bin/x 'a b'c "d"'e'`:              {{"/bin/x", "a bc", "de"}},
		`@/bin/x y z`:                         {{"/bin/x", "z"}},
		`/bin/x \x41\u00e4\101\s\t ""`:        {{"/bin/x", "AäA \t", ""}},
		"/bin/x\ta;b ;":                       {{"/bin/x", "a;b"}},
		"":                                    nil,
	} {
		all, err := commands(Entry{Value: line})
		var got [][]string
		for _, c := range all {
			got = append(got, c.words)
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", line, err, diff)
		}
	}
	for _, line := range []string{`/bin/x "a`, `/bin/x 'a`, `/bin/x a\`} {
		if _, err := commands(Entry{Value: line}); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", `\"'`, "%$", "; #", "\n\t", "$$%%", `a\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			return // neither is in any argument that a unit may have
		}
		for _, text := range []string{
			"[Service]\nExecStart=/x " + Quote(s) + " y",
			"[Service]\nExecStart=/x \\\n  " + Quote(s) + " \\\n y\n",
		} {
			file := Parse("x.service", []byte(text))
			if len(file.Entries) != 1 || len(file.findings) > 0 && len(s) < 500 {
				t.Fatalf("%q: got %+v, %+v", s, file.Entries, file.findings)
			}
			words := commandOf(t, file, "ExecStart").words
			if len(words) != 3 || literal(t, words[1]) != s {
				t.Fatalf("%q: got %q", s, words)
			}
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, a := range []*App{hello(), hostile()} {
		for _, u := range a.Units() {
			f.Add([]byte(u.Text()), []byte("[Service]\nExecStart=\\"))
		}
	}
	f.Add([]byte("[X-Fleet]\nConflicts=[\nMachineOf=%\n"), []byte("[Unit]\nBindsTo=a@.service @ .\n[Service]\nExecStart=sh -c\nTimeoutStopSec=1min 3\n"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		files := []*File{Parse("a@.service", one), Parse("b.service", two), Parse("a@.service.d/c.conf", two)}
		lines := max(strings.Count(string(one), "\n"), strings.Count(string(two), "\n")) + 1
		for _, finding := range Check(files...) {
			if finding.Line < 1 || finding.Line > lines || strings.Contains(finding.Message, "\n") {
				t.Fatalf("%+v of %d lines", finding, lines)
			}
		}
	})
}
