package reload

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rollcall/test/ports"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func listenTCP(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func portOf(t *testing.T, l net.Listener) string {
	t.Helper()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestNewPortsMustBeFree shows for every server that its own check accepts a port
// that is taken, and that the transaction does not.
func TestNewPortsMustBeFree(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, s := f.transaction()
		f.apply(tx, "g1")
		before, _ := s.Process()
		taken := listenTCP(t, "127.0.0.1:0")
		address := taken.Addr().String()
		f.extra = f.listenAlso(address)
		c := f.candidate("g2")

		path := filepath.Join(f.dir, "checked.conf")
		write(t, path, string(c.Files[0].Content))
		if err := f.proxy(s).Validate(t.Context(), Staged{Generation: "g2", Files: []StagedFile{{Path: f.main, Staged: path}}}); err != nil {
			t.Errorf("the server's own check refuses it: %v\n%s", err, outputOf(err))
		}

		c.Listen = []string{f.listen, address}
		_, err := tx.Apply(t.Context(), c)
		step, _ := errors.AsType[*StepError](err)
		if step == nil || step.Step != StepValidate || !errors.Is(err, unix.EADDRINUSE) {
			t.Fatalf("got %v, want a refusal of the port", err)
		}
		for _, want := range []string{"listen on " + address, fmt.Sprintf("pid %d,", os.Getpid()), "hint"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		if now, _ := s.Process(); now != before {
			t.Errorf("another server runs: %v, before %v", now, before)
		}
		f.serves("g1")

		taken.Close()
		if _, err := tx.Apply(t.Context(), c); err != nil {
			t.Fatalf("once it is free: %v\n%s", err, outputOf(err))
		}
		f.serves("g2")
		// What the server holds is its own, also for a render that has just been started.
		f.extra += "\n"
		c = f.candidate("g3")
		c.Listen = []string{f.listen, address}
		tx.Close()
		if _, err := f.transactionOn(s).Apply(t.Context(), c); err != nil {
			t.Fatalf("on its own ports: %v\n%s", err, outputOf(err))
		}
		f.serves("g3")
	})
}

// listenAlso has the server of the fixture listen on another address.
func (f *fixture) listenAlso(address string) string {
	switch f.kind {
	case "apache":
		return "Listen " + address + "\n"
	case "haproxy":
		return "frontend also\n mode http\n bind " + address + "\n http-request return status 204\n"
	}
	return "server { listen " + address + "; }\n"
}

func TestPorts(t *testing.T) {
	one, all := listenTCP(t, "127.0.0.1:0"), listenTCP(t, "0.0.0.0:0")
	held := netip.MustParseAddrPort(one.Addr().String())
	tests := []struct {
		name   string
		listen string
		holds  func(netip.AddrPort) bool
		want   []string // in the error; nil: there is none
	}{
		{name: "free", listen: ports.Address(t)},
		{name: "free everywhere", listen: ":" + strings.TrimPrefix(ports.Address(t), "127.0.0.1:")},
		{name: "taken", listen: held.String(), want: []string{"address already in use", fmt.Sprintf("pid %d, listens on %s", os.Getpid(), held)}},
		{name: "the server's own", listen: held.String(), holds: func(a netip.AddrPort) bool { return a == held }},
		{name: "taken on one interface", listen: ":" + portOf(t, one), want: []string{"listen on :" + portOf(t, one), "listens on " + held.String(), "restart it"}},
		{name: "taken on all interfaces", listen: "127.0.0.1:" + portOf(t, all), want: []string{"listens on [::]:" + portOf(t, all), "restart it"}},
		{name: "not ours", listen: "192.0.2.1:80", want: []string{"192.0.2.1:80", "no interface has this address"}},
		{name: "no address", listen: "localhost:80", want: []string{"listen on localhost:80"}},
		{name: "no port", listen: ":http", want: []string{"listen on :http"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			p := &fakeProxy{holds: tt.holds}
			c := Candidate{Generation: "g", Files: []File{{Path: filepath.Join(dir, "a"), Content: []byte("new")}}, Listen: []string{tt.listen}}
			_, err := newFake(t, p).Apply(t.Context(), c)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if err != nil && len(tree(t, dir)) > 0 {
				t.Errorf("left: %v", tree(t, dir))
			}
		})
	}
}

func TestPortsThatNeedPrivileges(t *testing.T) {
	err := portError(":80", netip.MustParseAddrPort("0.0.0.0:80"), unix.EACCES)
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "CAP_NET_BIND_SERVICE") {
		t.Errorf("got %v", err)
	}
}

// TestTryingAPortDisturbsNobody has a server begin to listen while the port is bound.
func TestTryingAPortDisturbsNobody(t *testing.T) {
	address := ports.Address(t)
	a := netip.MustParseAddrPort(address)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := bindTo(fd, a); err != nil {
		t.Fatal(err)
	}
	listenTCP(t, address)
}

func TestListenAddresses(t *testing.T) {
	for listen, want := range map[string]string{":80": "[0.0.0.0:80 [::]:80]", "127.0.0.1:80": "[127.0.0.1:80]", "[::1]:80": "[[::1]:80]"} {
		got, err := parseListen(listen)
		if diff := cmp.Diff(want, fmt.Sprint(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", listen, err, diff)
		}
	}
}

// Apache serves what its virtual hosts say only where another file has it listen.
func TestServerThatDoesNotListenThere(t *testing.T) {
	forEachKind(t, func(t *testing.T, f *fixture) {
		tx, _ := f.transaction()
		elsewhere := ports.Address(t)
		c := Candidate{Generation: "g1", Files: []File{{Path: f.main, Content: f.config("g1")}}, Listen: []string{f.listen, elsewhere}}
		_, err := tx.Apply(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "does not listen on "+elsewhere) || strings.Contains(err.Error(), "on "+f.listen) {
			t.Errorf("got %v, want that it does not listen on %s", err, elsewhere)
		}
		c.Listen = c.Listen[:1]
		if _, err := tx.Apply(t.Context(), c); err != nil {
			t.Error(err)
		}
	})
}
