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
	var b bytes.Buffer
	err := show(&b, renderer.Status{
		Proxy: "nginx", Output: "/o.conf", Desired: renderer.Configuration{Generation: "bbb", Revision: 9},
		Running: renderer.Configuration{Generation: "aaa", Revision: 7}, Drained: 6, LastReload: now.Add(-5 * time.Minute), Reloads: 3,
		Error: "validate: exit status 1\n[emerg] \x1b[2Junknown", ErrorSince: now.Add(-30 * time.Second), Services: 2, Instances: 4,
		Refused:    []discovery.Refusal{{Key: "/services/web/\x1b[31m\n", Reason: "value is empty"}},
		Skipped:    []string{"web/2"},
		Unresolved: map[string]string{"z.host": "no such host", "a.host": "timeout"},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	const want = `PROXY   OUTPUT    DESIRED   RUNNING   REVISION   DRAINED   SERVICES   INSTANCES   RELOADS   LAST RELOAD
nginx   /o.conf   bbb       aaa       7          6         2          4           3         5m ago

not served for 30s: validate: exit status 1
[emerg] ?[2Junknown

REFUSED                REASON
/services/web/?[31m?   value is empty

NOT ROUTED TO
web/2

HOST     REASON
a.host   timeout
z.host   no such host
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
