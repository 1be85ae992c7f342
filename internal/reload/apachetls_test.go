package reload

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/internal/templates"
	"rollcall/test/ports"
)

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
	a.knows("web", one.Member)
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
