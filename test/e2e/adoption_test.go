package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A successor within the TTL takes up the lease and the records: a watcher sees nothing
// of containers that did not change, and what it has to see of those that did. It is the
// same after USR1, a kill and a crash of the machine's announcer and of a sidekick.
func TestAdoption(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"USR1": syscall.SIGUSR1, "KILL": syscall.SIGKILL, "ABRT": syscall.SIGABRT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoint := newEtcd(t)
			service := unique("shop")
			stays, dies, moves, joins := unique("stays"), unique("dies"), unique("moves"), unique("joins")
			shop := func(name string, args ...string) {
				runContainer(t, name, "v1", append([]string{"-P", "--label", "rollcall.service=" + service, "--label", "rollcall.instance=" + name}, args...)...)
			}
			shop(stays, "--label", "rollcall.check=http:///healthz")
			shop(dies)
			shop(moves)
			state := t.TempDir()
			announce := func() *process {
				return startAnnounce(t, endpoint, "--explicit", "--ttl", "60s", "--state-dir", state)
			}
			id := func(name string) string { return service + "/" + name }
			a := announce()
			r := record(t, endpoint, service)
			r.holds(t, "all are announced", id(stays), id(dies), id(moves))
			before := len(r.caughtUp(t))
			a.signal(sig)
			if code := a.wait(); sig == syscall.SIGUSR1 && code != 0 {
				t.Errorf("announce exits with %d after USR1", code)
			}

			a = announce()
			eventually(t, "the successor takes up the lease", func() error {
				if !strings.Contains(a.output(), "took up the lease of an earlier run") {
					return fmt.Errorf("it says %s", a.output())
				}
				return nil
			})
			shop(joins) // its record shows that the successor has told all it knows
			r.holds(t, "the next one is announced", id(stays), id(dies), id(moves), id(joins))
			want := []string{"put /services/" + id(joins)}
			if got := r.caughtUp(t)[before:]; !slices.Equal(got, want) {
				t.Errorf("a watcher sees %q, want %q", got, want)
			}

			a.signal(sig)
			a.wait()
			before = len(r.caughtUp(t))
			docker(t, "kill", dies)
			old := r.keys(t)[id(moves)]
			docker(t, "restart", "-t", "0", moves)
			a = announce()
			eventually(t, "the changes are seen", func() error {
				now := r.keys(t)
				if now[id(dies)] != "" || now[id(moves)] == old {
					return fmt.Errorf("records %v", now)
				}
				return nil
			})
			got := r.caughtUp(t)[before:]
			slices.Sort(got)
			if want := []string{"delete /services/" + id(dies), "put /services/" + id(moves)}; !slices.Equal(got, want) {
				t.Errorf("a watcher sees %q, want %q", got, want)
			}
			a.signal(syscall.SIGTERM)
			if code := a.wait(); code != 0 {
				t.Errorf("announce exits with %d after TERM", code)
			}
			r.holds(t, "all are withdrawn")
		})
	}
}

// Whoever revokes the lease by hand takes nothing away for long.
func TestLeaseRevokedByHand(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	name := unique("web")
	runContainer(t, name, "v1", "-P")
	startAnnounce(t, endpoint, "--container", name, "--service", "website")
	r := record(t, endpoint, "website")
	r.holds(t, "it is announced", "website/"+name)
	for range 3 {
		before := len(r.caughtUp(t))
		lease := strings.Fields(etcdctl(t, endpoint, "lease", "list"))
		etcdctl(t, endpoint, "lease", "revoke", lease[len(lease)-1])
		r.holds(t, "it is announced again", "website/"+name)
		want := []string{"delete /services/website/" + name, "put /services/website/" + name}
		if got := r.caughtUp(t)[before:]; !slices.Equal(got, want) {
			t.Errorf("a watcher sees %q, want %q", got, want)
		}
	}
}

// Two machines that claim one record: the second is refused, is told by whom, and has it
// when the first is done; one that may take over does not wait.
func TestTwoAnnouncers(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	one, two := unique("one"), unique("two")
	runContainer(t, one, "v1", "-P")
	runContainer(t, two, "v2", "-P")
	r := record(t, endpoint, "website")
	sidekick := func(name string, args ...string) *process {
		return startAnnounce(t, endpoint, append([]string{"--container", name, "--service", "website", "--instance", "the-one", "--service-version", name}, args...)...)
	}
	owner := func(name string) func() error {
		return func() error {
			if v := r.keys(t)["website/the-one"]; !strings.Contains(v, `"version":"`+name+`"`) {
				return fmt.Errorf("record %s is not that of %s", v, name)
			}
			return nil
		}
	}
	first := sidekick(one)
	eventually(t, "the first has it", owner(one))
	second := sidekick(two)
	eventually(t, "the second is refused, and told by whom", func() error {
		if !strings.Contains(second.output(), "record belongs to somebody else") || !strings.Contains(second.output(), "machine") {
			return fmt.Errorf("it says %s", second.output())
		}
		return nil
	})
	if err := owner(one)(); err != nil {
		t.Error(err)
	}
	first.signal(syscall.SIGTERM)
	if code := first.wait(); code != 0 {
		t.Errorf("the first exits with %d", code)
	}
	eventually(t, "the second has it", owner(two))
	third := sidekick(one, "--takeover")
	eventually(t, "the third takes it over", owner(one))
	third.signal(syscall.SIGTERM)
	if code := third.wait(); code != 0 {
		t.Errorf("the third exits with %d", code)
	}
	eventually(t, "the second has it back", owner(two))
}
