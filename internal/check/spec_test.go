package check

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for in, want := range map[string]struct {
		spec Spec
		text string // what String makes of it
		err  string
	}{
		"http://:8080/healthz":       {spec: Spec{Scheme: "http", Port: 8080, Path: "/healthz"}, text: "http://:8080/healthz"},
		"https:///up":                {spec: Spec{Scheme: "https", Path: "/up"}, text: "https:///up"},
		"tcp://:5432":                {spec: Spec{Scheme: "tcp", Port: 5432}, text: "tcp://:5432"},
		"tcp://":                     {spec: Spec{Scheme: "tcp"}, text: "tcp://"},
		"http://":                    {spec: Spec{Scheme: "http", Path: "/"}, text: "http:///"},
		"HTTP://:80":                 {spec: Spec{Scheme: "http", Port: 80, Path: "/"}, text: "http://:80/"},
		"http://:00080?deep=1":       {spec: Spec{Scheme: "http", Port: 80, Path: "/?deep=1"}, text: "http://:80/?deep=1"},
		"http:///a?b=http://c:1/@d?": {spec: Spec{Scheme: "http", Path: "/a?b=http://c:1/@d?"}, text: "http:///a?b=http://c:1/@d?"},
		"http:////a/../b":            {spec: Spec{Scheme: "http", Path: "//a/../b"}, text: "http:////a/../b"},
		"http:///a%2Fb%20c":          {spec: Spec{Scheme: "http", Path: "/a%2Fb%20c"}, text: "http:///a%2Fb%20c"},

		"":                  {err: `check "" is not a URL such as http://:8080/healthz or tcp://:5432`},
		"/healthz":          {err: `check "/healthz" is not a URL such as http://:8080/healthz or tcp://:5432`},
		"http:/healthz":     {err: `check "http:/healthz" is not a URL such as http://:8080/healthz or tcp://:5432`},
		":8080":             {err: `check ":8080" is not a URL such as http://:8080/healthz or tcp://:5432`},
		"://":               {err: `scheme "" is none of http, https and tcp`},
		"udp://:53":         {err: `scheme "udp" is none of http, https and tcp`},
		" http://":          {err: `scheme " http" is none of http, https and tcp`},
		"http://web/":       {err: `check "http://web/" names a host; the announced endpoint's is asked, so leave it out`},
		"http://web:80":     {err: `check "http://web:80" names a host; the announced endpoint's is asked, so leave it out`},
		"tcp://[::1]:80":    {err: `check "tcp://[::1]:80" names a host; the announced endpoint's is asked, so leave it out`},
		`http://\`:          {err: `check "http://\\" names a host; the announced endpoint's is asked, so leave it out`},
		"http://a:secret@:": {err: "check holds user info; an endpoint is asked without"},
		"ftp://a:secret@b":  {err: "check holds user info; an endpoint is asked without"},
		"tcp://@":           {err: "check holds user info; an endpoint is asked without"},
		"http://:/":         {err: `port "" is not a number from 1 to 65535`},
		"tcp://:0":          {err: `port "0" is not a number from 1 to 65535`},
		"tcp://:65536":      {err: `port "65536" is not a number from 1 to 65535`},
		"tcp://:+1":         {err: `port "+1" is not a number from 1 to 65535`},
		"tcp://::1":         {err: `port ":1" is not a number from 1 to 65535`},
		"tcp://:80 ":        {err: `port "80 " is not a number from 1 to 65535`},
		"tcp://:80/":        {err: `path "/" has no meaning in a tcp check`},
		"tcp://?x":          {err: `path "?x" has no meaning in a tcp check`},
		"tcp://#x":          {err: `path "#x" has no meaning in a tcp check`},
		"http:///#x":        {err: `path "/#x" holds a fragment, which is never sent`},
		"http://#":          {err: `path "/#" holds a fragment, which is never sent`},
		"http:///a b":       {err: `path "/a b" holds something that must be percent-encoded`},
		"http:///?a b":      {err: `path "/?a b" holds something that must be percent-encoded`},
		"http:///a\r\nX: y": {err: `path "/a\r\nX: y" holds something that must be percent-encoded`},
		"http:///?\x00":     {err: `path "/?\x00" holds something that must be percent-encoded`},
		"http:///?\x7f":     {err: `path "/?\x7f" holds something that must be percent-encoded`},
		"http:///ü":         {err: `path "/\u00fc" holds something that must be percent-encoded`},
		"http:///?ü":        {err: `path "/?\u00fc" holds something that must be percent-encoded`},
		"http:///%zz":       {err: `path "/%zz" holds something that must be percent-encoded`},
		`http:///"`:         {err: `path "/\"" holds something that must be percent-encoded`},
		"http:///" + long:   {err: `path "/` + long[:79] + `"… is longer than 1024 bytes`},
		"http://" + long:    {err: `check "http://` + long[:73] + `"… names a host; the announced endpoint's is asked, so leave it out`},
		"tcp://:" + long:    {err: `port "` + long[:80] + `"… is not a number from 1 to 65535`},
		"tcp:///" + long:    {err: `path "/` + long[:79] + `"… has no meaning in a tcp check`},
		long + "://":        {err: `scheme "` + long[:80] + `"… is none of http, https and tcp`},
		long:                {err: `check "` + long[:80] + `"… is not a URL such as http://:8080/healthz or tcp://:5432`},
	} {
		got, err := Parse(in)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != want.err {
			t.Errorf("%.60q:\ngot  %s\nwant %s", in, text, want.err)
		}
		if diff := cmp.Diff(want.spec, got); diff != "" {
			t.Errorf("%.60q (-want +got):\n%s", in, diff)
		}
		if err == nil && got.String() != want.text {
			t.Errorf("%q: written as %s, want %s", in, got, want.text)
		}
	}
}

func TestValidate(t *testing.T) {
	http := func(s *Spec) { s.Scheme, s.Path = "http", "/" }
	for _, test := range []struct {
		name   string
		change func(*Spec)
		want   []string
	}{
		{"defaults", func(*Spec) {}, nil},
		{"smallest", func(s *Spec) { s.Interval, s.Timeout, s.Rise, s.Fall = 100*time.Millisecond, time.Millisecond, 1, 1 }, nil},
		{"largest", func(s *Spec) { s.Interval, s.Timeout, s.Rise, s.Fall = time.Hour, time.Minute, 100, 100 }, nil},
		{"a timeout longer than the interval", func(s *Spec) { s.Interval, s.Timeout = time.Second, 2*time.Second }, nil},
		{"too small", func(s *Spec) { s.Interval, s.Timeout, s.Rise, s.Fall = 99*time.Millisecond, 999*time.Microsecond, 0, 0 }, []string{
			"interval 99ms is not from 100ms to 1h", "timeout 999µs is not from 1ms to 1m", "rise 0 is not from 1 to 100", "fall 0 is not from 1 to 100",
		}},
		{"too large", func(s *Spec) { s.Interval, s.Timeout, s.Rise, s.Fall = time.Hour+1, time.Minute+1, 101, 101 }, []string{
			"interval 1h0m0.000000001s is not from 100ms to 1h", "timeout 1m0.000000001s is not from 1ms to 1m",
			"rise 101 is not from 1 to 100", "fall 101 is not from 1 to 100",
		}},
		{"nothing said", func(s *Spec) { *s = Spec{} }, []string{
			`scheme "" is none of http, https and tcp`, "interval 0s is not from 100ms to 1h", "timeout 0s is not from 1ms to 1m",
			"rise 0 is not from 1 to 100", "fall 0 is not from 1 to 100",
		}},
		{"http", http, nil},
		{"http without a path", func(s *Spec) { s.Scheme = "http" }, []string{`path "" must begin with /`}},
		{"a path that is none", func(s *Spec) { http(s); s.Path = "healthz" }, []string{`path "healthz" must begin with /`}},
		{"another header", func(s *Spec) { http(s); s.Path = "/ HTTP/1.1\r\nHost: x" }, []string{`path "/ HTTP/1.1\r\nHost: x" holds something that must be percent-encoded`}},
		{"tcp with a path", func(s *Spec) { s.Path = "/" }, []string{`path "/" has no meaning in a tcp check`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			if err := spec(test.change).Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"http://:8080/healthz", "https:///up?a=b", "tcp://:5432", "tcp://", "HTTP://", "http:////x", "http:///%2f%2F", `http:///"%2F`, "http:///?%zz", "http:///?",
		"http://a@:80", "http:///#", "http:///\x00", "http:///\xff", "http:///*", "http:///;:@&=+$,", "http:///[]", "://", "tcp://:00", "\u202ehttp://",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if err != nil {
			if text := err.Error(); len(text) > 500 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q: %q is no line for a log", s, text)
			}
			if got != (Spec{}) {
				t.Errorf("%q: %+v together with %v", s, got, err)
			}
			return
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is %+v, but %s is %+v, %v", s, got, got, again, err)
		}
		if strings.ContainsFunc(got.String(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q: %q is not plain", s, got)
		}
		if err := got.Validate(); err == nil {
			t.Errorf("%q: valid without an interval", s)
		}
		got.Interval, got.Timeout, got.Rise, got.Fall = DefaultInterval, DefaultTimeout, DefaultRise, DefaultFall
		if err := got.Validate(); err != nil {
			t.Errorf("%q is accepted, and then not: %v", s, err)
		}
		if got.Scheme == "tcp" {
			return
		}
		// What is sent is what was written.
		req, err := request(Target{got, endpoint(0)})
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		var b strings.Builder
		if err := req.Write(&b); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if line, _, _ := strings.Cut(b.String(), "\r\n"); line != "GET "+got.Path+" HTTP/1.1" {
			t.Errorf("%q: asked as %q", s, line)
		}
	})
}
