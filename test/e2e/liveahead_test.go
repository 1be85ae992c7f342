package e2e

import (
	"fmt"
	"syscall"
	"testing"

	"rollcall/internal/discovery"
)

// The server dies between a change of its members and that of its files: it may come back as
// the files said before, and is told again.
func TestMembersAheadOfTheFiles(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		b := serveName(t, "b")
		put(t, endpoint, "/services/web/b", b)
		l := startLive(t, proxy, endpoint)
		eventually(t, "both answer", func() error { return evenly(l.url, "a", "b") })
		j := keepJournal(t, endpoint)
		master := pidIn(t, l.pid)
		deleted, err := j.client.Delete(t.Context(), "/services/web/b")
		if err != nil {
			t.Fatal(err)
		}
		at := deleted.Header.Revision
		j.says(t, "it is out", at, func(a *discovery.Acknowledgement) bool { return a.Applied >= at })
		if err := syscall.Kill(master, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.restarted(t, master)
		l.written(t, nil, []string{b})
		eventually(t, "it is out for good", func() error {
			if shares := l.shares(t); len(shares) != 1 {
				return fmt.Errorf("the server has %v", shares)
			}
			return evenly(l.url, "a")
		})
	})
}
