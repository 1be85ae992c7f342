package reload

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/internal/templates"
	"rollcall/test/ports"
)

// TestApacheAddedMemberThatRefuses is about what a BalancerMember's parameters see to, of
// which one that was added has none.
func TestApacheAddedMemberThatRefuses(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one := newNamedBackend(t, "one")
	dead := Member{"dead", ports.Address(t), 100}
	a.want("web", dead, one.Member)
	a.sync(false, 2)
	if got := a.answers(10); got != "one" {
		t.Errorf("with another to ask: got answers of %q, want one", got)
	}
	a.want("web", dead)
	a.sync(false, 1)
	if got := a.answers(1); !strings.HasPrefix(got, "503 ") {
		t.Errorf("nobody answers: got %q, want 503", got)
	}
	l, err := net.Listen("tcp", dead.Address)
	if err != nil {
		t.Fatal(err)
	}
	back := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "back") }))
	back.Listener.Close()
	back.Listener = l
	back.Start()
	defer back.Close()
	if got := a.answers(4); got != "back" {
		t.Errorf("started again: got answers of %q, want back", got)
	}
}

// TestApacheMembersJoinWhereNobodyIs has requests change sides with each member that is new,
// and with nothing else.
func TestApacheMembersJoinWhereNobodyIs(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t)
	one, two, three := newNamedBackend(t, "one"), newNamedBackend(t, "two"), newNamedBackend(t, "three")
	for _, step := range []struct {
		what          string
		members       []Member
		doubled       bool
		active, other int // members that a balancer knows, and its double
	}{
		{"one joins", []Member{one.Member}, true, 1, 0},
		{"it leaves", nil, true, 1, 0},
		{"it is back", []Member{one.Member}, true, 1, 0},
		{"another joins", []Member{one.Member, two.Member}, false, 2, 1},
		{"the weight changes", []Member{one.Member, two.weighing(7)}, false, 2, 1},
		{"a third joins", []Member{one.Member, three.Member, two.Member}, true, 3, 2},
	} {
		a.want("web", step.members...)
		if _, err := a.driver.Sync(t.Context(), a.last, false); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		place := a.last.Pools[1].Places[0]
		host, balancer, err := parseApachePlace(place)
		if err != nil {
			t.Fatal(err)
		}
		managers := newApacheManagers(liveSecret)
		page, err := managers.read(t.Context(), host)
		managers.close()
		if err != nil {
			t.Fatal(err)
		}
		active, rest, err := a.driver.live.side.of(page, balancer)
		if err != nil {
			t.Fatal(err)
		}
		if doubled := strings.HasPrefix(active.name, templates.ApacheDouble); doubled != step.doubled || len(active.workers) != step.active || len(rest.workers) != step.other {
			t.Errorf("%s: requests go to %s, which knows %d; the other knows %d; want %+v", step.what, active.name, len(active.workers), len(rest.workers), step)
		}
	}
	if err := os.Remove(a.b.Side); err != nil { // by somebody else, who sends requests to where one is missing
		t.Fatal(err)
	}
	a.sync(true, 1)
	if got := a.answers(9); got != "one three two" {
		t.Errorf("got answers of %q, want those of all three", got)
	}
}

// TestApacheThatDoesNotSeeItsSide has a directory that its workers may not look into: requests
// would go on to where the new member is not.
func TestApacheThatDoesNotSeeItsSide(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("workers run as another user only when root starts them")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a := newLiveApache(t, func(b *templates.Balancer) { b.Side = filepath.Join(dir, "side") })
	one, two := newNamedBackend(t, "one"), newNamedBackend(t, "two")
	a.want("web", one.Member)
	if _, err := a.driver.Sync(t.Context(), a.last, false); !errors.Is(err, ErrNeedsReload) || !errors.Is(err, errUnseen) {
		t.Fatalf("got %v, want a reload because the file is not seen", err)
	}
	a.reload()
	a.sync(true, 0)
	if got := a.answers(2); got != "one" {
		t.Errorf("after the reload: got answers of %q, want one", got)
	}
	if err := mark(a.b.Side); err != nil { // as if a render before had left it there
		t.Fatal(err)
	}
	a.sync(true, 0)
	if _, err := os.Stat(a.b.Side); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody sees is still there: %v", err)
	}
	a.want("web", one.Member, two.weighing(0))
	a.sync(false, 0)
}

// TestApacheWithoutDoubles has a reload asked for when somebody is new, and for nothing else.
func TestApacheWithoutDoubles(t *testing.T) {
	t.Parallel()
	a := newLiveApache(t, func(b *templates.Balancer) { b.Side = "" })
	one, two := newNamedBackend(t, "one"), newNamedBackend(t, "two")
	a.want("web", one.Member)
	a.reload()
	a.sync(true, 0)
	a.want("web", one.Member, two.Member)
	if _, err := a.driver.Sync(t.Context(), a.last, false); !errors.Is(err, ErrNeedsReload) {
		t.Fatalf("got %v, want ErrNeedsReload", err)
	}
	a.reload()
	a.sync(true, 0)
	a.want("web", two.Member)
	a.sync(false, 1)
	if got := a.answers(4); got != "two" {
		t.Errorf("got answers of %q, want two", got)
	}
}

// TestApacheMembersWithTLS has a host that is reached by TLS alone.
func TestApacheMembersWithTLS(t *testing.T) {
	t.Parallel()
	secure := ports.Address(t)
	a := newLiveApache(t, func(b *templates.Balancer) {
		dir := b.RunDir
		cert, key := keyPair(t, dir, "web")
		pem := ""
		for _, path := range []string{cert, key} {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			pem += string(content)
		}
		file := filepath.Join(dir, "web.pem")
		write(t, file, pem)
		b.ListenTLS = []string{secure}
		b.Settings.Redirect = true
		b.Certificates = []templates.Certificate{{Name: "*.example", File: file}, {Name: "web.example", File: file}}
	})
	one := newNamedBackend(t, "one")
	a.want("web", one.Member)
	a.sync(false, 1)
	a.sync(true, 0)
	places := strings.Join(a.last.Pools[1].Places, " ")
	if !strings.Contains(places, "https://web.example@"+secure) || !strings.Contains(places, "http://rollcall-default.invalid@"+a.listen) {
		t.Errorf("got places %s", places)
	}
	managers := newApacheManagers(liveSecret)
	defer managers.close()
	for _, place := range a.last.Pools[1].Places {
		host, balancer, err := parseApachePlace(place)
		if err != nil {
			t.Fatal(err)
		}
		page, err := managers.read(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		if active, _, err := a.driver.live.side.of(page, balancer); err != nil || len(active.workers) != 1 || active.workers[0].off() {
			t.Errorf("%s: got %+v, %v", place, active, err)
		}
	}
}
