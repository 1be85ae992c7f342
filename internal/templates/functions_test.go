package templates

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

// TestFunctionNames: a new version of sprig adds no function that nobody has looked at.
func TestFunctionNames(t *testing.T) {
	const file = "testdata/functions.txt"
	got := strings.Join(slices.Sorted(maps.Keys(functions())), "\n") + "\n"
	if *update {
		write(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update accepts it):\n%s", file, diff)
	}
}

func TestFunctions(t *testing.T) {
	b := Balancer{
		Proxy: "nginx", Listen: []string{":80", "[::1]:80"}, Settings: Settings{ConnectTimeout: 1500 * time.Millisecond, ServerTimeout: 5 * time.Minute},
		Services: []*discovery.Service{
			{Name: "shop"},
			{Name: "web", Instances: []*discovery.Instance{{Name: "b", Meta: map[string]string{"zone": "eu"}, Hosts: []string{"www", "api"}}}},
		},
	}
	for text, want := range map[string]string{
		// strings
		`{{"a.b.c" | replace "." "_"}} {{trim " a "}} {{"$a$" | trimAll "$"}}`: "a_b_c a a",
		`{{contains "bc" "abcd"}} {{contains "x" "abcd"}}`:                     "true false",
		`{{hasPrefix "ab" "abc"}} {{hasPrefix "bc" "abc"}}`:                    "true false",
		`{{hasSuffix "bc" "abc"}} {{hasSuffix "ab" "abc"}}`:                    "true false",
		`{{trimPrefix "a" "aab"}} {{trimSuffix "b" "abb"}}`:                    "ab ab",
		`{{upper "aé"}} {{lower "AÉ"}} {{title "ab"}} {{snakecase "AbCd"}}`:    "AÉ aé Ab ab_cd",
		`{{repeat 3 "ab"}}{{indent 2 "a\nb"}}{{nindent 1 "c"}}`:                "ababab  a\n  b\n c",
		`{{substr 1 3 "abcd"}} {{trunc 2 "abcd"}} {{plural "one" "many" 2}}`:   "bc ab many",
		`{{quote "a b"}} {{quote "say \"\\n\""}}`:                              `"a b" "say \"\\n\""`,
		// lists and maps
		`{{join ", " .Listen}} {{index (splitList ":" "10.0.0.5:80") 1}}`:                                                     ":80, [::1]:80 80",
		`{{list "b" "a" "b" | uniq | sortAlpha | join ","}} {{first .Listen}} {{last (list 1 2)}}`:                            "a,b :80 2",
		`{{(dict "a" 1).a}} {{get (dict "a" "x") "a"}} {{hasKey (dict "a" 1) "b"}} {{has 1 (list 1)}}`:                        "1 x false true",
		`{{range $k, $v := pick (dict "a" 1 "b" 2) "b"}}{{$k}}{{$v}}{{end}} {{dig "a" "b" "no" (dict "a" (dict "b" "yes"))}}`: "b2 yes",
		`{{toJson (dict "b" 1 "a" (list "x"))}} {{(fromJson "{\"a\":5}").a}}`:                                                 `{"a":["x"],"b":1} 5`,
		// choices, numbers and types
		`{{.Proxy | default "none"}} {{.User | default "x"}} {{0 | default 5}} {{7 | default 5}}`:                         "nginx x 5 7",
		`{{coalesce "" "a" "b"}} {{ternary "y" "n" true}} {{empty 0}}`:                                                    "a y true",
		`{{add 1 2}} {{sub 5 3}} {{mul 2 3}} {{div 7 2}} {{mod 7 2}} {{max 1 3}} {{min 1 3}}`:                             "3 2 6 3 1 3 1",
		`{{atoi "5"}} {{int "7"}} {{ceil 1.2}} {{round 1.26 1}} {{kindOf 1}} {{typeOf "a"}}`:                              "5 7 2 1.3 int string",
		`{{seconds .Settings.ConnectTimeout}} {{timespan .Settings.ConnectTimeout}} {{timespan .Settings.ServerTimeout}}`: "2 1500ms 300s",
		// text in other forms
		`{{sha256sum ""}}`: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		`{{b64enc "a:b"}} {{b64dec "YTpi"}} {{regexReplaceAll "[0-9]+" "a1b22" "-"}} {{regexMatch "^a" "ab"}}`: "YTpi a:b a-b- true",
		`{{base "/a/b.c"}} {{dir "/a/b.c"}} {{ext "/a/b.c"}} {{(urlParse "http://h:1/p").host}}`:               "b.c /a .c h:1",
		`{{semverCompare ">=1.2" "1.10.0"}}`: "true",
		// the catalog
		`{{range (.Service "web").Instances}}{{.Name}} {{.Meta.zone}} {{.Hosts | join ","}}{{end}}`: "b eu www,api",
		`{{len (.Service "nobody").Instances}} {{range .Services}}{{.Name}} {{end}}`:                "0 shop web ",
	} {
		tmpl, err := Parse("own.tmpl", text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := tmpl.Render(b)
		if got := strings.TrimSuffix(string(out.Content), "\n"); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestFunctionErrors: what fails names its line, and neither ends the program nor is
// taken for a result.
func TestFunctionErrors(t *testing.T) {
	for text, want := range map[string]string{
		"\n{{repeat 2000000 \"a\"}}":         `own.tmpl:2:2: executing "own.tmpl" at <repeat 2000000 "a">: error calling repeat: 2000000 times 1 bytes: the result may have up to 1048576`,
		`{{repeat -1 "a"}}`:                  "error calling repeat",
		`{{indent 1000 (repeat 2000 "\n")}}`: "error calling indent: 2001 lines by 1000 spaces",
		`{{nindent -1 "a"}}`:                 "error calling nindent",
		`{{fromJson "{"}}`:                   "error calling fromJson: unexpected end of JSON input",
		`{{regexMatch "(" "a"}}`:             "error calling regexMatch: error parsing regexp",
		`{{b64dec "?"}}`:                     "error calling b64dec: illegal base64 data",
		`{{first "a"}}`:                      "error calling first",
		`{{div 1 0}}`:                        "error calling div",
		`{{urlParse ":"}}`:                   "error calling urlParse",
		`{{fail "no"}}`:                      `own.tmpl:1:2: executing "own.tmpl" at <fail "no">: error calling fail: no`,
		`{{quote "a\nb"}}`:                   "holds a control character",
		`{{set .Listen "a" 1}}`:              `own.tmpl:1: function "set" not defined`,
	} {
		tmpl, err := Parse("own.tmpl", text)
		if err == nil {
			_, err = tmpl.Render(Balancer{})
		}
		if err == nil || !strings.HasPrefix(err.Error(), "own.tmpl:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// TestFunctionsChangeNothing: the catalog is shared with whoever else looks at it.
func TestFunctionsChangeNothing(t *testing.T) {
	listen := []string{"b", "a", "", "b"}
	for _, f := range []string{"sortAlpha", "reverse", "uniq", "compact", "initial", "rest", "toStrings", "append .Listen", "prepend .Listen", "concat .Listen", "without .Listen", "chunk 1"} {
		tmpl, err := Parse("own.tmpl", `{{$x := `+f+` .Listen}}{{.Listen}}`)
		if err != nil {
			t.Fatal(err)
		}
		out, err := tmpl.Render(Balancer{Listen: listen})
		if got, want := string(out.Content), "[b a  b]\n"; err != nil || got != want {
			t.Errorf("%s: left %q, %v, want %q", f, got, err, want)
		}
	}
}
