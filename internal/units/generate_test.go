package units

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The example in units/ is what the generator writes, under a shorter name of the sidekick.
func TestExampleIsGenerated(t *testing.T) {
	for _, u := range hello().Units() {
		name := strings.ReplaceAll(u.Name, "web-announce@", "announce@")
		want, err := os.ReadFile(filepath.Join("../../units", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), strings.ReplaceAll(u.Text(), "web-announce@", "announce@")); diff != "" {
			t.Errorf("units/%s is not what `announce units --name web --image hello --service website --port 8080 --fleet` "+
				"writes (-file +generated):\n%s", name, diff)
		}
	}
}

// What is said to the generator reaches Docker and announce, letter by letter, and the linter has no objection.
func TestValuesArrive(t *testing.T) {
	apps := []*App{hello(), hostile()}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		apps = append(apps, random(r))
	}
	for _, a := range apps {
		if mistakes := a.Mistakes(); len(mistakes) > 0 {
			t.Fatalf("%+v: %+v", a, mistakes)
		}
		files := parsed(a)
		if findings := Check(files...); len(findings) > 0 {
			t.Fatalf("%s\n%+v", findings[0], a)
		}
		want := []string{"--env", "--volume"}
		got := map[string][]string{}
		words := commandOf(t, files[0], "ExecStart").words
		i := 2
		for ; words[i] != a.Image; i++ {
			switch words[i] {
			case "--name", "--stop-timeout", "--publish", "--label", want[0], want[1]:
				got[words[i]] = append(got[words[i]], words[i+1])
				i++
			default:
				got["options"] = append(got["options"], words[i])
			}
		}
		got["command"] = words[i+1:]
		options := append([]string{"--rm"}, a.Options...)
		said := map[string][]string{"--env": a.Env, "--volume": a.Volumes, "options": options, "command": a.Command}
		for name, said := range said {
			for j := range got[name] {
				got[name][j] = literal(t, got[name][j])
			}
			if diff := cmp.Diff(append([]string{}, said...), append([]string{}, got[name]...)); diff != "" {
				t.Fatalf("%s (-said +got):\n%s", name, diff)
			}
		}
		labels := strings.ReplaceAll(strings.Join(got["--label"], "\n"), "rollcall.instance=%H-"+a.Name+"-%i", "")
		if a.Version != "" && !strings.Contains(literal(t, labels), "rollcall.version="+a.Version) {
			t.Fatalf("version %q is not among %q", a.Version, got["--label"])
		}
		if !a.Global && a.Check != "" {
			words := commandOf(t, files[1], "ExecStart").words
			if at := indexOf(words, "--check"); at < 0 || literal(t, words[at+1]) != a.Check {
				t.Fatalf("check %q is not in %q", a.Check, words)
			}
		}
	}
}

func indexOf(words []string, word string) int {
	for i, w := range words {
		if w == word {
			return i
		}
	}
	return -1
}

func commandOf(t *testing.T, f *File, name string) *command {
	t.Helper()
	for _, e := range f.Entries {
		if e.Name == name {
			all, err := commands(e)
			if err != nil || len(all) != 1 || len(all[0].warnings) > 0 {
				t.Fatalf("%s: got %d commands, %v", e.Value, len(all), err)
			}
			return all[0]
		}
	}
	t.Fatalf("no %s", name)
	return nil
}

// The files and the bodies for the API say the same.
func TestBodiesSayWhatFilesSay(t *testing.T) {
	for _, a := range []*App{hello(), hostile()} {
		for i, u := range a.Units() {
			var body struct {
				Name, DesiredState string
				Options            []Option
			}
			text, err := u.Body("2")
			if err == nil {
				err = json.Unmarshal(text, &body)
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(u.Name, "@", "@2", 1); body.Name != want || body.DesiredState != "launched" {
				t.Errorf("got %s, %s", body.Name, body.DesiredState)
			}
			var want []Option
			for _, e := range parsed(a)[i].Entries {
				want = append(want, Option{e.Section, e.Name, strings.ReplaceAll(e.Value, "  ", " ")})
			}
			if diff := cmp.Diff(want, body.Options); diff != "" {
				t.Errorf("%s (-file +body):\n%s", u.Name, diff)
			}
			if strings.Count(string(text), "\n") != 1 {
				t.Errorf("%s has more lines than one", text)
			}
		}
	}
}

// The limits of a unit give its commands time; and what would leave a record behind a container that is stopped is not there.
func TestTraps(t *testing.T) {
	files := parsed(hello())
	text := hello().Units()[1].Text()
	for _, want := range []string{
		"BindsTo=web@%i.service\n", "After=web@%i.service ", "Type=notify\n", "NotifyAccess=main\n", "WatchdogSec=8s\n", "--listen=\n",
		"StateDirectory=rollcall-%p-%i\n", "TimeoutStopSec=40s\n", "TimeoutStartSec=infinity\n", "MachineOf=web@%i.service\n",
		"Restart=always\n", "StartLimitIntervalSec=0\n", "--instance %H-web-%i ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the sidekick has no %q", want)
		}
	}
	for _, f := range files {
		for _, e := range f.Entries {
			if e.Name == "RestartKillSignal" {
				t.Errorf("%s has %s", f.Path, e.Name)
			}
		}
	}
	text = hello().Units()[0].Text()
	for _, want := range []string{
		"Wants=web-announce@%i.service\n", "SuccessExitStatus=137 143\n", "ExecStartPre=-/usr/bin/docker rm --force %p-%i\n",
		"ExecStop=-/usr/bin/docker stop --time 20 %p-%i\n", "TimeoutStopSec=30s\n", "--publish 8080", "--label rollcall.ignore=true", "Conflicts=web@*.service\n",
		"Restart=always\n", "StartLimitIntervalSec=0\n", "WantedBy=multi-user.target\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the container's unit has no %q", want)
		}
	}
	global := hello()
	global.Global = true
	all := global.Units()
	if len(all) != 1 {
		t.Fatalf("got %d units", len(all))
	}
	if strings.Contains(all[0].Text(), "rollcall.ignore") {
		t.Error("the container is ignored by those who are to announce it")
	}
	for _, e := range parsed(global)[0].Entries {
		if e.Name == "After" && strings.Contains(e.Value, "announce") {
			t.Error("the container waits for announce, which may wait for etcd")
		}
	}
	for _, want := range []string{
		"--label rollcall.service=website", "--label rollcall.instance=%H-web-%i", "--label rollcall.port=8080",
		"ExecStartPost=-/usr/bin/announce wait website/%H-web-%i --timeout 30s\n", "TimeoutStopSec=70s\n",
		"ExecStop=-/usr/bin/announce resume website/%H-web-%i --timeout 1s\n",
		"ExecStop=-/usr/bin/announce drain website/%H-web-%i --timeout 30s\n",
	} {
		if !strings.Contains(all[0].Text(), want) {
			t.Errorf("the unit without a sidekick has no %q", want)
		}
	}
}

func TestMistakes(t *testing.T) {
	for want, change := range map[string]func(*App){
		"name":            func(a *App) { a.Name = "Web" },
		"image":           func(a *App) { a.Image = "-v hello" },
		"service":         func(a *App) { a.Service = "web/site" },
		"port":            func(a *App) { a.Ports = "" },
		"service-version": func(a *App) { a.Version = "1\n[Service]" },
		"host":            func(a *App) { a.Host = "www.example.com,-" },
		"path":            func(a *App) { a.Path = "shop" },
		"check-url":       func(a *App) { a.Check = "http://\x00" },
		"env":             func(a *App) { a.Env = []string{"A=1\nExecStart=x"} },
		"volume":          func(a *App) { a.Volumes = []string{"/var/lib"} },
		"docker-option":   func(a *App) { a.Options = []string{"--detach"} },
		"ANNOUNCE":        func(a *App) { a.Announce = "/a b" },
		"COMMAND":         func(a *App) { a.Command = []string{"a\r"} },
		"metadata":        func(a *App) { a.Metadata = []string{"role=web=x"} },
		"wait-routed":     func(a *App) { a.WaitRouted = -1 },
		"drain-timeout":   func(a *App) { a.DrainTimeout = 0 },
		"stop-timeout":    func(a *App) { a.StopTimeout = 1 << 62 },
		"fleet":           func(a *App) { a.Env = []string{"A=" + strings.Repeat("x", 2000)} },
	} {
		a := hello()
		change(a)
		got := a.Mistakes()
		if len(got) != 1 || got[0].Setting != want || got[0].Err == nil {
			t.Errorf("%s: got %+v", want, got)
		}
	}
	for _, global := range []bool{false, true} {
		a := hello()
		a.Announce, a.Global, a.Fleet = "/home/me/bin/announce", global, false
		if got := a.Mistakes(); (len(got) == 0) != global {
			t.Errorf("a program in /home, global %t: got %+v", global, got)
		}
	}
	nothing := (&App{}).Mistakes()
	if len(nothing) < 5 {
		t.Errorf("got %d mistakes of nothing at all: %+v", len(nothing), nothing)
	}
	for image, want := range map[string]bool{
		"hello": true, "a/b/c:1": true, "r.example.com:5000/x@sha256:" + strings.Repeat("a", 64): true, "Hello": false, "a:b:c": false,
		"a b": false, "": false, "a/": false, "$x": false, "a%i": false, "x:" + strings.Repeat("a", 129): false,
	} {
		if got := checkImage(image) == nil; got != want {
			t.Errorf("%s: got %v", image, got)
		}
	}
}
