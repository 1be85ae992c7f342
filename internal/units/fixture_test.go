package units

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// hello is the application of the examples.
func hello() *App {
	return &App{
		Announce: "/usr/bin/announce", Name: "web", Image: "hello", Service: "website", Ports: "8080", Spread: true, Fleet: true,
		WaitRouted: 30 * time.Second, DrainTimeout: 30 * time.Second, StopTimeout: 20 * time.Second,
	}
}

// hostile is hello with whatever systemd, a shell or Docker might take for something else.
func hostile() *App {
	a := hello()
	a.Name, a.Image = "web-2.x_y", "registry.example.com:5000/team/hello__world:v1.2-rc1@sha256:"+strings.Repeat("0a", 32)
	a.Ports, a.Version, a.Check = "8080,53/udp,8000-8010", `50% "off" \ $HOME`, "http://:8080/a?b=%20&c=$d;e"
	a.Host, a.Path = "www.example.com,example.org", "/shop"
	a.Env = []string{"A=50% $PATH ${HOME} $$ %i %%", `B="q" 'q' \n \`, "C=# ; -d --detach", "TOKEN", "EMPTY=", "U=ä€\u2028"}
	a.Volumes = []string{"/srv/a b:/var/lib/app:ro", "data:/d%i"}
	a.Options = []string{"--memory=64m", "--read-only", "--health-cmd=test -f /x; echo $?"}
	a.Command = []string{";", "#x", "-d", "sh", "-c", `sleep 1; date +%F; echo "$(date) ${X:-y}"`, "", "a$b", "$c d", "it's"}
	a.Metadata = []string{"role=web", "region=eu-1"}
	return a
}

// random makes a valid App of anything.
func random(r *rand.Rand) *App {
	pieces := []string{
		"%", "$", "$$", "%%", "%i", "$HOME", "${X}", "${X:-1}", `\`, `"`, "'", " ", "  ", "#", ";", "-", "a", "=", "ß", "{}", "--rm", "-d",
		"docker run -d x", "etcdctl set --ttl 10", "sleep 60", "+%Y", "date ", "|", "&&", "\u00a0", "@", "!", "+", ":",
	}
	text := func() string {
		var b strings.Builder
		for range r.IntN(6) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	several := func(of func() string) (all []string) {
		for range r.IntN(4) {
			all = append(all, of())
		}
		return all
	}
	a := hello()
	a.Name = []string{"web", "a", "web-1", "x.y_z", "0"}[r.IntN(5)]
	a.Image = []string{"hello", "hello:1", "localhost:5000/a/b:c", "a.b/c"}[r.IntN(4)]
	a.Ports = []string{"80", "80,53/udp", "8000-8010"}[r.IntN(3)]
	a.Version, a.Check = text(), text()
	a.Env = several(func() string { return fmt.Sprintf("K%d=%s", r.IntN(9), text()) })
	a.Volumes = several(func() string { return "v" + text() + ":/" + text() })
	a.Volumes = keep(a.Volumes, func(v string) bool { return checkVolume(v) == nil })
	a.Options = several(func() string { return "--label=" + text() })
	a.Command = several(text)
	a.WaitRouted = time.Duration(r.IntN(100)) * time.Second / 3
	a.DrainTimeout = time.Second + time.Duration(r.IntN(100))*time.Second/3
	a.StopTimeout = time.Second + time.Duration(r.IntN(100))*time.Second/3
	a.Global, a.Fleet, a.Spread = r.IntN(3) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	return a
}

func keep(all []string, wanted func(string) bool) (kept []string) {
	for _, s := range all {
		if wanted(s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// parsed reads what was generated.
func parsed(a *App) []*File {
	var files []*File
	for _, u := range a.Units() {
		files = append(files, Parse(u.Name, []byte(u.Text())))
	}
	return files
}

// literal gives what a program sees of a word, if it holds neither specifiers nor variables.
func literal(t *testing.T, word string) string {
	t.Helper()
	for _, sign := range []string{"%", "$"} {
		if strings.Contains(strings.ReplaceAll(word, sign+sign, ""), sign) {
			t.Fatalf("%q is not literal", word)
		}
		word = strings.ReplaceAll(word, sign+sign, sign)
	}
	return word
}
