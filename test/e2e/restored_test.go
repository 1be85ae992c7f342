package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Etcd's history goes back, or is another one: its backup of yesterday is restored, or
// an empty cluster answers at its address. What it says now is what is served, as far
// as nobody is held for it.
func TestAnotherHistory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		empty bool
		lease bool
		args  []string
		want  []string // who is served when etcd is back
	}{
		{name: "backup", lease: true, args: []string{"--max-loss", "100%"}, want: []string{"a"}},
		{name: "empty", empty: true},
		{name: "empty, and most are held", empty: true, lease: true, want: []string{"a", "b", "c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := startEtcd(t)
			data, backup := e.args[1], filepath.Join(t.TempDir(), "backup")
			announce := func(name string) {
				key, value := "/services/web/"+name, serveName(t, name)
				if tt.lease {
					leased(t, e.endpoint, map[string]string{key: value})
				} else {
					put(t, e.endpoint, key, value)
				}
			}
			announce("a")
			e.crash()
			if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
				t.Fatal(err)
			}
			e.start()
			announce("b")
			announce("c")
			b := startRender(t, "nginx", e.endpoint, append([]string{"--service", "web"}, tt.args...)...)
			eventually(t, "all are served", func() error { return evenly(b.url, "a", "b", "c") })

			e.crash()
			if err := os.RemoveAll(data); err != nil {
				t.Fatal(err)
			}
			if !tt.empty {
				if err := os.CopyFS(data, os.DirFS(backup)); err != nil {
					t.Fatal(err)
				}
			}
			e.start()
			if len(tt.want) > 0 {
				eventually(t, "what etcd says is served", func() error { return evenly(b.url, tt.want...) })
			} else {
				eventually(t, "nobody is served", func() error {
					if code, _, body := get(b.url); code != 503 {
						return fmt.Errorf("%d %s", code, body)
					}
					return nil
				})
			}
			if tt.empty && tt.lease {
				eventually(t, "who is held is said", func() error {
					if table := b.show(t); !strings.Contains(table, "HELD") || !strings.Contains(table, "web/c") {
						return errors.New(table)
					}
					return nil
				})
			}
			announce("d")
			eventually(t, "the next change is served", func() error {
				return errors.Join(evenly(b.url, append(tt.want, "d")...), ready(b.status))
			})
		})
	}
}
