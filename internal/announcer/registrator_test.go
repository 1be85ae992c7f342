package announcer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
)

// said builds variables or labels from names and values in turn.
func said(kv ...string) map[string]string {
	m := map[string]string{}
	fill(m, kv)
	return m
}

// TestReadLegacy has registrator's documented behaviour (docs/user/services.md), and
// where the document is silent, that of its serviceMetaData and newService.
func TestReadLegacy(t *testing.T) {
	type at map[uint16]legacy
	left := func(names ...string) (dropped []Setting) {
		for _, n := range names {
			dropped = append(dropped, Setting{Name: n})
		}
		return dropped
	}
	attrs := func(kv ...string) map[string]string { return said(kv...) }
	for name, tc := range map[string]struct {
		labels, env map[string]string
		want        at
	}{
		"single service with defaults": {nil, said("PATH", "/bin", "HOSTNAME", "x"), at{6379: {}}},
		"single service with metadata": {
			nil, said("SERVICE_NAME", "db", "SERVICE_TAGS", "master,backups", "SERVICE_REGION", "us2"),
			at{6379: {Name: "db", Tags: []string{"master", "backups"}, Attrs: attrs("region", "us2")}},
		},
		"labels to define metadata": {
			said("SERVICE_NAME", "db", "SERVICE_TAGS", "master,backups", "SERVICE_REGION", "us2"), nil,
			at{6379: {Name: "db", Tags: []string{"master", "backups"}, Attrs: attrs("region", "us2")}},
		},
		"escaped comma": {
			nil, said("SERVICE_TAGS", `/(;\,:-_)/`),
			at{6379: {Tags: []string{"/(;,:-_)/"}}},
		},
		"multiple services with metadata": {
			nil, said("SERVICE_443_NAME", "https", "SERVICE_443_ID", "https.12345", "SERVICE_443_SNI", "enabled", "SERVICE_80_NAME", "http", "SERVICE_TAGS", "www"),
			at{
				443: {Name: "https", OwnName: true, ID: "https.12345", OwnID: true, Tags: []string{"www"}, Attrs: attrs("sni", "enabled")},
				80:  {Name: "http", OwnName: true, Tags: []string{"www"}},
			},
		},
		"one name for several ports is nobody's own": {
			nil, said("SERVICE_NAME", "web", "SERVICE_ID", "web-1"),
			at{80: {Name: "web", ID: "web-1"}, 443: {Name: "web", ID: "web-1"}},
		},
		"ignored as a whole":            {nil, said("SERVICE_IGNORE", "true"), at{80: {Ignore: true}, 443: {Ignore: true}}},
		"one port ignored":              {said("SERVICE_80_IGNORE", "true"), nil, at{80: {Ignore: true}, 443: {}}},
		"ignored, whatever is said":     {nil, said("SERVICE_IGNORE", "false", "SERVICE_443_IGNORE", "0"), at{80: {Ignore: true}, 443: {Ignore: true}}},
		"nothing said does not ignore":  {nil, said("SERVICE_IGNORE", ""), at{80: {}}},
		"nothing said of one port":      {nil, said("SERVICE_IGNORE", "1", "SERVICE_443_IGNORE", ""), at{80: {Ignore: true}, 443: {}}},
		"a label beats a variable":      {said("SERVICE_NAME", "l", "SERVICE_80_X", "l"), said("SERVICE_NAME", "e", "SERVICE_80_X", "e"), at{80: {Name: "l", Attrs: attrs("x", "l")}, 443: {Name: "l"}}},
		"a port's own variable beats":   {said("SERVICE_NAME", "l"), said("SERVICE_80_NAME", "e80"), at{80: {Name: "e80", OwnName: true}, 443: {Name: "l"}}},
		"an empty label hides":          {said("SERVICE_NAME", "", "SERVICE_REGION", ""), said("SERVICE_NAME", "e", "SERVICE_REGION", "eu"), at{80: {}}},
		"an empty name of one's own":    {nil, said("SERVICE_NAME", "web", "SERVICE_80_NAME", ""), at{80: {OwnName: true}, 443: {Name: "web"}}},
		"attributes in lower case":      {said("SERVICE_Http_Route", "/A"), nil, at{80: {Attrs: attrs("http_route", "/A")}}},
		"names in lower case":           {nil, said("SERVICE_NAME", " MyApp ", "SERVICE_ID", "Core-01:App:80"), at{80: {Name: "myapp", ID: "core-01:app:80"}}},
		"the prefix is in capitals":     {said("service_name", "x", "Service_Name", "y"), nil, at{80: {}}},
		"a port of another name":        {nil, said("SERVICE_8080_NAME", "x", "SERVICE_080_NAME", "y", "SERVICE_+80_NAME", "z", "SERVICE_80808_NAME", "v"), at{80: {}}},
		"a number and no name":          {nil, said("SERVICE_8080", "x"), at{80: {Attrs: attrs("8080", "x")}, 8080: {Attrs: attrs("8080", "x")}}},
		"a number within a port's own":  {nil, said("SERVICE_80_443_X", "x"), at{80: {Attrs: attrs("443_x", "x")}, 443: {}}},
		"not registrator's":             {said("ROLLCALL_SERVICE", "x", "MY_SERVICE_NAME", "y", "SERVICENAME", "z"), nil, at{80: {}}},
		"tags of one's own":             {nil, said("SERVICE_TAGS", "a,b", "SERVICE_80_TAGS", "c"), at{80: {Tags: []string{"c"}}, 443: {Tags: []string{"a", "b"}}}},
		"a check is no attribute":       {nil, said("SERVICE_80_CHECK_HTTP", "/health"), at{80: {http: "/health"}, 443: {}}},
		"a check rollcall does not run": {nil, said("SERVICE_CHECK_SCRIPT", "nc $SERVICE_IP", "SERVICE_CHECK_TTL", "30s"), at{80: {Attrs: attrs("check_script", "nc $SERVICE_IP", "check_ttl", "30s")}}},
		"one attribute, two spellings":  {nil, said("SERVICE_ZONE", "capitals", "SERVICE_Zone", "b", "SERVICE_zone", "c"), at{80: {Attrs: attrs("zone", "capitals")}}},
		"two spellings, one of a label": {said("SERVICE_zone", "label"), said("SERVICE_ZONE", "variable"), at{80: {Attrs: attrs("zone", "label")}}},
		"no attribute's name":           {nil, said("SERVICE_", "x", "SERVICE_80_", "y"), at{80: {Dropped: left(`"SERVICE_80_"`)}, 443: {Dropped: left(`"SERVICE_"`)}}},
		"what a record cannot hold": {
			nil, said("SERVICE_A", "two\nlines", "SERVICE_B\x1b[2J", "b", "SERVICE_C", "ends in \\", "SERVICE_D", "\xff", "SERVICE_"+strings.Repeat("E", 64), "e", "SERVICE_F", "fine"),
			at{80: {Attrs: attrs("f", "fine"), Dropped: left(`"SERVICE_A"`, `"SERVICE_B\x1b[2J"`, `"SERVICE_C"`, `"SERVICE_D"`, `"SERVICE_`+strings.Repeat("E", 64)+`"`)}},
		},
		"secrets": {
			nil, said("SERVICE_PASSWORD", "x", "SERVICE_80_API_TOKEN", "x", "SERVICE_Aws.Secret", "x", "SERVICE_TOKEN_URL", "fine", "SERVICE_KEYS", "fine"),
			at{80: {Attrs: attrs("token_url", "fine", "keys", "fine"), Dropped: left(`"SERVICE_80_API_TOKEN"`, `"SERVICE_Aws.Secret"`, `"SERVICE_PASSWORD"`)}},
		},
		"tags a record cannot hold": {nil, said("SERVICE_TAGS", "a,\u202e,b"), at{80: {Dropped: left(`"SERVICE_TAGS"`)}}},
		"checks nobody understands": {
			nil, said("SERVICE_CHECK_HTTP", "/%zz", "SERVICE_CHECK_HTTPS", "/a b", "SERVICE_CHECK_INTERVAL", "10", "SERVICE_CHECK_TIMEOUT", "-1s"),
			at{80: {Dropped: left(`"SERVICE_CHECK_HTTP"`, `"SERVICE_CHECK_HTTPS"`, `"SERVICE_CHECK_INTERVAL"`, `"SERVICE_CHECK_TIMEOUT"`)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for port, want := range tc.want {
				for range 10 { // Go visits a map in another order each time
					got := readLegacy(tc.labels, tc.env, port)
					if diff := cmp.Diff(want, got, cmp.AllowUnexported(legacy{}), cmpopts.IgnoreFields(legacy{}, "names"), cmpopts.IgnoreFields(Setting{}, "Value", "From"), cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("port %d (-want +got):\n%s", port, diff)
					}
				}
			}
		})
	}
}

func TestLegacyCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"none":              {said("SERVICE_NAME", "a", "SERVICE_CHECK_INTERVAL", "15s"), ""},
		"http":              {said("SERVICE_CHECK_HTTP", "/health/endpoint/path"), "http:///health/endpoint/path  "},
		"http of the port":  {said("SERVICE_80_CHECK_HTTP", "/h?full=1", "SERVICE_80_CHECK_INTERVAL", "15s", "SERVICE_80_CHECK_TIMEOUT", "1s"), "http:///h?full=1 15s 1s"},
		"http of another":   {said("SERVICE_443_CHECK_HTTP", "/health"), ""},
		"https":             {said("SERVICE_80_CHECK_HTTPS", "/health", "SERVICE_CHECK_INTERVAL", "15s"), "https:///health 15s "},
		"tcp":               {said("SERVICE_80_CHECK_TCP", "true", "SERVICE_80_CHECK_TIMEOUT", "3s"), "tcp://  3s"},
		"tcp, whatever":     {said("SERVICE_CHECK_TCP", "false"), "tcp://  "},
		"tcp, emptied":      {said("SERVICE_CHECK_TCP", "true", "SERVICE_80_CHECK_TCP", ""), ""},
		"the first of all":  {said("SERVICE_CHECK_TCP", "true", "SERVICE_CHECK_HTTPS", "/s", "SERVICE_CHECK_HTTP", "/p"), "http:///p  "},
		"not another host":  {said("SERVICE_CHECK_HTTP", "evil.example.com/health"), "http:///evil.example.com/health  "},
		"nor with a slash":  {said("SERVICE_CHECK_HTTP", "//evil.example.com"), "http:////evil.example.com  "},
		"script, ttl, grpc": {said("SERVICE_CHECK_SCRIPT", "true", "SERVICE_CHECK_TTL", "30s", "SERVICE_CHECK_CMD", "/x", "SERVICE_CHECK_GRPC", "s"), ""},
	} {
		target, interval, timeout, ok := readLegacy(nil, tc.env, 80).check()
		got := ""
		if ok {
			got = target + " " + interval + " " + timeout
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// Whatever an image says, a record can hold it, beside what the operator says. "<" is
// what takes JSON the most bytes.
func TestLegacyFitsIntoRecord(t *testing.T) {
	tags := said("SERVICE_TAGS", strings.Repeat("<,", 2000))
	many, long := maps.Clone(tags), maps.Clone(tags)
	for n := range 500 {
		many[fmt.Sprintf("SERVICE_%03d", n)] = "x"
		long[fmt.Sprintf("SERVICE_%03d", n)] = strings.Repeat("<", 100*n+1)
	}
	for name, tc := range map[string]struct {
		env  map[string]string
		want int
	}{
		"many": {many, maxLegacyAttrs},
		"long": {long, 10}, // 4540 bytes
	} {
		l := readLegacy(nil, tc.env, 80)
		if len(l.Tags) != 2000 || len(l.Attrs) != tc.want || len(l.Dropped) != 500-tc.want {
			t.Errorf("%s: %d tags and %d attributes are told, and %d left out", name, len(l.Tags), len(l.Attrs), len(l.Dropped))
		}
		i := &discovery.Instance{Service: "a", Name: "b", Host: "192.0.2.1", Port: 1, Proto: "tcp", Meta: l.meta()}
		for n := range 15 {
			i.Meta[fmt.Sprintf("operator-%d", n)] = "x"
		}
		for _, layout := range discovery.Layouts() {
			if _, err := discovery.Encode(discovery.DefaultPrefix, layout, i); err != nil {
				t.Errorf("%s, %s: %v", name, layout, err)
			}
		}
	}
}

func TestLegacyMeta(t *testing.T) {
	l := readLegacy(nil, said("SERVICE_TAGS", `a,b\,c`, "SERVICE_REGION", "eu"), 80)
	if diff := cmp.Diff(map[string]string{"tags": `a,b\,c`, "region": "eu"}, l.meta()); diff != "" {
		t.Errorf("meta (-want +got):\n%s", diff)
	}
	l.meta()["more"] = "x"
	if _, has := l.Attrs["more"]; has {
		t.Error("the attributes changed with their copy")
	}
}

func TestParseTags(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, ",": nil, ",,a,,b,": {"a", "b"}, "a": {"a"}, "a, b": {"a", " b"},
		`a\,b`: {"a,b"}, `\,`: {","}, `a\,`: {"a,"}, `a\\,b`: {`a\,b`}, `a\b,c`: {`a\b`, "c"}, `\,\,,\,a`: {",,", ",a"}, `a\`: {`a\`},
		"traefik.frontend.entrypoints=http\\,https,x": {"traefik.frontend.entrypoints=http,https", "x"},
	} {
		if diff := cmp.Diff(want, parseTags(in)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func FuzzParseTags(f *testing.F) {
	for _, s := range []string{"", "a,b", `a\,b`, `\`, `\,`, `\\,`, `,\,,`, " a , b ", "ä,\x00,\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags := parseTags(s)
		if slices.Contains(tags, "") {
			t.Errorf("%q has an empty tag: %q", s, tags)
		}
		written := joinTags(tags)
		if again := parseTags(written); !slices.Equal(again, tags) {
			t.Errorf("%q is %q, written %q, and then %q", s, tags, written, again)
		}
		if len(written) > len(s) {
			t.Errorf("%q grew to %q", s, written)
		}
		if plain := strings.FieldsFunc(s, func(r rune) bool { return r == ',' }); !strings.Contains(s, `\`) && !slices.Equal(plain, tags) {
			t.Errorf("%q without a backslash: got %q, want %q", s, tags, plain)
		}
	})
}

func FuzzReadLegacy(f *testing.F) {
	f.Add("SERVICE_NAME", "web", "SERVICE_80_name", "Web", uint16(80))
	f.Add("SERVICE_TAGS", `a\,b`, "SERVICE_CHECK_HTTP", "//x", uint16(443))
	f.Add("SERVICE_\x00", "\xff", "SERVICE_99999999999999999999_X", "y", uint16(0))
	f.Fuzz(func(t *testing.T, key, value, otherKey, otherValue string, port uint16) {
		env := said(key, value, otherKey, otherValue)
		l := readLegacy(nil, env, port)
		for n := range 4 {
			if diff := cmp.Diff(l, readLegacy(nil, maps.Clone(env), port), cmp.AllowUnexported(legacy{})); diff != "" {
				t.Fatalf("differs the %d. time:\n%s", n+2, diff)
			}
		}
		i := &discovery.Instance{Service: "a", Name: "b", Host: "192.0.2.1", Port: 1, Proto: "tcp", Meta: l.meta()}
		if _, err := discovery.Encode(discovery.DefaultPrefix, discovery.LayoutJSON, i); err != nil {
			t.Error(err)
		}
		if target, _, _, ok := l.check(); ok {
			if spec, err := check.Parse(target); err != nil || spec.Port != 0 {
				t.Errorf("check %q asks port %d: %v", target, spec.Port, err)
			}
		}
	})
}

// Whoever misses something is told why.
func TestLegacyReasons(t *testing.T) {
	env := said("SERVICE_A", "two\nlines", "SERVICE_B_TOKEN", "x", "SERVICE_CHECK_INTERVAL", "10")
	for n := range maxLegacyAttrs + 1 {
		env[fmt.Sprintf("SERVICE_%03d", n)] = "x"
	}
	var got []string
	for _, d := range readLegacy(said("SERVICE_C_KEY", "x"), env, 80).Dropped {
		got = append(got, d.From+" "+d.Name+": "+d.Value)
	}
	want := []string{
		`variable "SERVICE_048": more than 48 attributes, or 5120 bytes of them`, `variable "SERVICE_A": no record can hold it`,
		`variable "SERVICE_B_TOKEN": a secret, by its name`, `label "SERVICE_C_KEY": a secret, by its name`,
		`variable "SERVICE_CHECK_INTERVAL": not a check that makes sense`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
