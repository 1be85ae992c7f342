package reload

import (
	"io"
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
		if err != nil || len(page[balancer].workers) != 1 || page[balancer].workers[0].off() {
			t.Errorf("%s: got %+v, %v", place, page[balancer], err)
		}
	}
}
