package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnv(t *testing.T) {
	type want struct {
		Listen    string
		MinWait   time.Duration
		Once      bool
		Services  []string
		Sets      []string
		Labels    map[string]string
		Endpoints []string
		User      string
	}
	defaults := want{Listen: ":80", MinWait: 20 * time.Millisecond, Endpoints: []string{DefaultEndpoint}}
	for _, tc := range []struct {
		name, args string
		env        map[string]string
		change     func(*want)
	}{
		{"nothing", "", nil, func(*want) {}},
		{
			"variables", "",
			map[string]string{"RENDER_LISTEN": ":81", "RENDER_MIN_WAIT": "1s", "RENDER_ONCE": "true"},
			func(w *want) { w.Listen, w.MinWait, w.Once = ":81", time.Second, true },
		},
		{
			"flag beats variable", "--listen :82 --once=false --service c",
			map[string]string{"RENDER_LISTEN": ":81", "RENDER_ONCE": "true", "RENDER_SERVICE": "a,b"},
			func(w *want) { w.Listen, w.Services = ":82", []string{"c"} },
		},
		{
			"flag beats a bad variable", "--min-wait 2s",
			map[string]string{"RENDER_MIN_WAIT": "soon"},
			func(w *want) { w.MinWait = 2 * time.Second },
		},
		{"empty is not set", "", map[string]string{"RENDER_LISTEN": "", "RENDER_ONCE": " ", "RENDER_SERVICE": "\t"}, func(*want) {}},
		{
			"lists", "",
			map[string]string{"RENDER_SERVICE": "a, b\tc\n,d", "RENDER_LABEL": "x=1 y=2,z=3"},
			func(w *want) {
				w.Services, w.Labels = []string{"a", "b", "c", "d"}, map[string]string{"x": "1", "y": "2", "z": "3"}
			},
		},
		{
			"lists whose values hold commas", "",
			map[string]string{"RENDER_SET": "a=1,2 b=3"},
			func(w *want) { w.Sets = []string{"a=1,2", "b=3"} },
		},
		{
			"etcdctl's variables", "",
			map[string]string{"ETCDCTL_ENDPOINTS": "http://a:1,http://b:2", "ETCDCTL_USER": "root:x"},
			func(w *want) { w.Endpoints, w.User = []string{"http://a:1", "http://b:2"}, "root:x" },
		},
		{
			"own beats etcdctl's", "",
			map[string]string{"ETCDCTL_ENDPOINTS": "http://a:1", "RENDER_ENDPOINTS": "http://c:3"},
			func(w *want) { w.Endpoints = []string{"http://c:3"} },
		},
		{
			"an empty own gives way to etcdctl's", "",
			map[string]string{"ETCDCTL_ENDPOINTS": "http://a:1", "RENDER_ENDPOINTS": ""},
			func(w *want) { w.Endpoints = []string{"http://a:1"} },
		},
		{
			"flag beats both", "--endpoints http://d:4",
			map[string]string{"ETCDCTL_ENDPOINTS": "http://a:1", "RENDER_ENDPOINTS": "http://c:3"},
			func(w *want) { w.Endpoints = []string{"http://d:4"} },
		},
		{"not for help", "", map[string]string{"RENDER_HELP": "true"}, func(*want) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := defaults
			tc.change(&w)
			c := run(t, tc.env, append([]string{"nginx"}, strings.Fields(tc.args)...)...)
			if c.code != ExitOK || c.ran == "" {
				t.Fatalf("code %d, ran %q: %s", c.code, c.ran, c.stderr)
			}
			got := want{c.listen, c.minWait, c.once, c.services, c.sets, c.labels, c.etcd.Endpoints, c.etcd.User}
			if diff := cmp.Diff(w, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestHelpNamesTheVariables(t *testing.T) {
	help := run(t, map[string]string{"ETCDCTL_PASSWORD": "s3cret", "ETCDCTL_USER": "root"}, "nginx", "--help").stdout
	words := strings.Join(strings.Fields(help), " ")
	for _, want := range []string{
		"-l, --listen ADDRESS ADDRESS to listen on (env RENDER_LISTEN) (default \":80\") ",
		"--min-wait DURATION DURATION between two configurations (env RENDER_MIN_WAIT) (default 20ms) ",
		"(env RENDER_ENDPOINTS, ETCDCTL_ENDPOINTS) (default [http://127.0.0.1:2379]) ",
		"better in the environment, because every user of the machine can read arguments (env RENDER_PASSWORD, ETCDCTL_PASSWORD) ",
		"-h, --help help for nginx --label",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in:\n%s", want, help)
		}
	}
	if strings.Contains(help, "s3cret") {
		t.Errorf("the help shows a password:\n%s", help)
	}
}
