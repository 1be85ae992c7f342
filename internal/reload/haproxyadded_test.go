package reload

import (
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/templates"
	"rollcall/test/ports"
)

// TestHAProxyTakesOutAtOnce adds a member that nobody can reach: twice three failures take it out,
// as they do one of the file, and no check has to find it out in its own time.
func TestHAProxyTakesOutAtOnce(t *testing.T) {
	b := newMember(t, "b")
	f := newHAFixture(t, b.Member)
	f.become(Member{Name: "a", Address: ports.Address(t), Weight: 1}, b.Member)
	id := f.proxy.live.places["rollcall_web"].active["a"].id
	for range 6 {
		if got, err := get(t.Context(), "http://"+f.listen+"/"); err != nil || got != "b" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	stats := statsOf(f.api("show stat rollcall_web 4 "+strconv.Itoa(id)), "status")
	if got, want := stats["rollcall_web/a"], "DOWN"; got != want {
		t.Errorf("after six requests it is %q, want %q", got, want)
	}
}

// TestHAProxyServerOptions has servers that are added be as those of the file are.
func TestHAProxyServerOptions(t *testing.T) {
	text, err := templates.BuiltinText("haproxy")
	if err != nil {
		t.Fatal(err)
	}
	options, pools, _ := strings.Cut(serverOptions, " pool-")
	for _, line := range []string{"default-server " + options + "\n", "default-server pool-" + strings.TrimSuffix(pools, " pool-max-conn -1") + "\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("the template has no line %q", line)
		}
	}
}
