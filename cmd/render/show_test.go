package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
	"rollcall/internal/renderer"
)

func TestShow(t *testing.T) {
	now := time.Unix(1e9, 0)
	change := func(kind renderer.Kind, instance string, revision int64) renderer.Change {
		return renderer.Change{Kind: kind, Service: "web", Instance: instance, Revision: revision, Key: "/services/web/" + instance}
	}
	r := report{
		Status: renderer.Status{
			ID: "edge-1", Proxy: "nginx", Outputs: []string{"/o.conf"}, Desired: renderer.Configuration{Generation: "bbb", Revision: 9}, OnDisk: "edited",
			Running: renderer.Configuration{Generation: "aaa", Revision: 7}, Drained: 6, Reloads: 3, OldWorkers: 2,
			History: []renderer.Reload{{At: now.Add(-5 * time.Minute), Took: 0.1254, Cause: change(renderer.Removed, "b", 7), Changes: 2}},
			Changes: []renderer.Change{change(renderer.Removed, "b", 7), change(renderer.Added, "a", 6)},
			Diff:    "-old\n+new\x1b[31m\n",
			Error:   "validate: exit status 1\n[emerg] \x1b[2Junknown", ErrorSince: now.Add(-30 * time.Second), Retry: &renderer.Retry{At: now.Add(3 * time.Second), Attempt: 4},
			Services: 2, Instances: 4, Stale: true,
			Refused: []discovery.Refusal{{Key: "/services/web/\x1b[31m\n", Reason: "value is empty"}},
			Skipped: []string{"web/2", "web/4"}, SkippedReasons: map[string]string{"web/2": "its host does not resolve"}, Held: []string{"web/3"},
			Unresolved:  map[string]string{"z.host": "no such host", "a.host": "timeout"},
			Quarantined: []renderer.Quarantined{{Service: "bad", Reason: "refused\nby nginx", Since: now.Add(-time.Minute)}},
			RefusedInputs: []renderer.RefusedInput{
				{Reason: "validate: exit status 1\n[emerg] unknown \x1b[31mdirective\nnginx: test failed"},
				{File: "/certs/www.crt", Reason: "key does not match"},
			},
			InputWarnings: []renderer.RefusedInput{{File: "/certs/old.crt", Reason: "has expired"}},
		},
		Renderers: others([]*discovery.Acknowledgement{
			{ID: "edge-1", Node: "n1", Proxy: "nginx", Prefix: "/services", Applied: 7, Drained: 6, LastError: "validate: exit status 1"},
			{ID: "edge-2", Node: "n2", Proxy: "haproxy", Prefix: "/services", Applied: 9, Drained: 9, Healthy: true, Held: []string{"web/3"}},
			{ID: "elsewhere", Prefix: "/other", Applied: 100},
		}, "/services"),
	}
	var b bytes.Buffer
	if err := r.show(&b, now, true); err != nil {
		t.Fatal(err)
	}
	const want = `BALANCER   OUTPUT    DESIRED   ON DISK   RUNNING   REVISION   DRAINED   SERVICES   INSTANCES   OLD WORKERS
nginx      /o.conf   bbb       edited    aaa       7          6         2          4           2

LAST RELOAD   TOOK    RELOADS   REVISION   CAUSE                     CHANGES
5m ago        125ms   3         7          removed /services/web/b   2

CHANGED   WHAT              REVISION
removed   /services/web/b   7
added     /services/web/a   6

etcd has not answered yet: what is served is what was on disk, or what the cache remembers

not served for 30s: validate: exit status 1
[emerg] ?[2Junknown
attempt 5 in 3s, or when something changes

HELD, ALTHOUGH ITS LEASE HAS ENDED
web/3

QUARANTINED   SINCE     REASON
bad           60s ago   refused by nginx

REFUSED KEY            REASON
/services/web/?[31m?   value is empty

NOT ROUTED TO   REASON
web/2           its host does not resolve
web/4           -

HOST     REASON
a.host   timeout
z.host   no such host

FILES THAT ARE REFUSED
validate: exit status 1
  [emerg] unknown ?[31mdirective
  nginx: test failed
/certs/www.crt: key does not match

FILES THAT ARE USED ALL THE SAME
/certs/old.crt: has expired

RENDERER        NODE   PROXY     APPLIED   DRAINED   LAG   HELD   STATE
edge-1 (this)   n1     nginx     7         6         2     0      validate: exit status 1
edge-2          n2     haproxy   9         9         0     1      serving

-old
+new?[31m
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestShare(t *testing.T) {
	for text, want := range map[string]float64{"50%": 0.5, "0.25": 0.25, "100%": 1, "0": 0} {
		if got, err := parseShare(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "half", "101%", "-1%", "NaN", "50"} {
		if got, err := parseShare(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}
