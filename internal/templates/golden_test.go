package templates

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what the templates render into testdata/*.txtar")

// TestGolden renders every catalog of testdata for every server, compares the text,
// and has the server itself check it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, f := range archive.Files {
			want[f.Name] = string(f.Data)
		}
		kept := archive.Files[:1] // balancer.json
		for _, proxy := range proxies {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+proxy, func(t *testing.T) {
				b := decodeBalancer(t, want["balancer.json"], proxy)
				got := string(mustRender(t, b).Content)
				kept = append(kept, txtar.File{Name: proxy + ".conf", Data: []byte(got)})
				if diff := cmp.Diff(want[proxy+".conf"], got); diff != "" && !*update {
					t.Errorf("%s (-want +got; -update accepts it):\n%s", file, diff)
				}
				checkConfiguration(t, b, got)
				if proxy == "haproxy" {
					hosts := hostMap(t, b)
					kept = append(kept, txtar.File{Name: "haproxy.map", Data: []byte(hosts)})
					if diff := cmp.Diff(want["haproxy.map"], hosts); diff != "" && !*update {
						t.Errorf("%s: haproxy.map (-want +got; -update accepts it):\n%s", file, diff)
					}
				}
			})
		}
		if *update && len(kept) > len(proxies) { // -run has left none out
			archive.Files = kept
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestOddNames starts the servers with every name that could be taken for another:
// Apache finds out only then, after its own check has passed.
func TestOddNames(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/odd-names.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			b := decodeBalancer(t, string(archive.Files[0].Data), proxy)
			b.ErrorLog = "" // the golden file's directory is on nobody's machine
			start(t, b)
		})
	}
}

// TestManyHostNames has nginx build its table of the longest names there may be.
func TestManyHostNames(t *testing.T) {
	label := strings.Repeat("l", 63)
	b := Balancer{
		Proxy: "nginx", Standalone: true, Listen: []string{"127.0.0.1:8080"}, PidFile: "/run/rollcall/pid", ErrorLog: "stderr", RunDir: "/run/rollcall",
		Upstreams: []Upstream{{Name: "web", Servers: []Server{{Name: "web1", Host: "10.0.0.5", Port: 80, Address: "10.0.0.5:80", Weight: 100}}}},
	}
	for i := range 10_000 {
		name := fmt.Sprintf("%s.%s.%s.%056d.host", label, label, label, i)
		b.Hosts = append(b.Hosts, VirtualHost{Name: name, Routes: []Route{{"", "web"}}})
	}
	checkConfiguration(t, b, string(mustRender(t, b).Content))
}

// decodeBalancer reads a golden file's data, and adds what is each proxy's own.
func decodeBalancer(t *testing.T, text, proxy string) Balancer {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	b := Balancer{Proxy: proxy, Settings: DefaultSettings(), Control: "/run/rollcall/control.sock"} // the data is for all
	switch proxy {
	case "apache":
		b.Control, b.Modules = "127.0.0.1:9403", apacheModules
	case "haproxy":
		b.HostMap = "/run/rollcall/hosts.map"
	}
	if err := dec.Decode(&b); err != nil {
		t.Fatal(err)
	}
	return b
}

func mustRender(t testing.TB, b Balancer) Output {
	t.Helper()
	tmpl, err := Builtin(b.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	out, err := tmpl.Render(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
