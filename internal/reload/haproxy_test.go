package reload

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rollcall/test/ports"

	"github.com/google/go-cmp/cmp"
)

func TestFilesOfHAProxysCommandLine(t *testing.T) {
	tests := []struct {
		name, argv string
		want       []string
	}{
		{"as systemd runs it on Debian", "/usr/sbin/haproxy -Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -S /run/haproxy-master.sock -f /etc/haproxy/rollcall.cfg", []string{"/etc/haproxy/haproxy.cfg", "/etc/haproxy/rollcall.cfg"}},
		{"after a reload", "haproxy -sf 12 13 -x sockpair@3 -W -f /a.cfg", []string{"/a.cfg"}},
		{"relative", "haproxy -W -f conf/a.cfg -f .", []string{"/srv/conf/a.cfg", "/srv"}},
		{"the rest are files", "haproxy -W -- a.cfg -f", []string{"/srv/a.cfg", "/srv/-f"}},
		{"an argument that looks like one", "haproxy -L -f -f /a.cfg", []string{"/a.cfg"}},
		{"cut off", "haproxy -W -f", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		got := haproxyFiles(strings.Fields(tt.argv), "/srv")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFragmentThatHAProxyWasNotGiven(t *testing.T) {
	f := newFixture(t, "haproxy")
	write(t, f.main, string(f.config("g0")))
	f.supervise()
	eventually(t, "it serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g0" })
	path := filepath.Join(f.dir, "rollcall.cfg")
	tx := f.transactionOn(f.byPidFile())
	_, err := tx.Apply(t.Context(), Candidate{Generation: "g1", Files: []File{{Path: path, Content: []byte("backend b\n")}}})
	if err == nil || !strings.Contains(err.Error(), `EXTRAOPTS="-f `+path+`"`) {
		t.Errorf("got %v, want a hint how to give it the file", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it was written: %v", err)
	}
}

// A map is named by the configuration: the check has to see both as they will be.
func TestFileThatHAProxysConfigurationNames(t *testing.T) {
	f := newFixture(t, "haproxy")
	table := filepath.Join(f.dir, "hosts.map")
	f.extra = "\nfrontend named\nbind " + ports.Address(t) + "\n# " + table + " is not " + table + ".old\nhttp-request deny if { req.hdr(host),map_beg_int(" + table + ") -m found }\n"
	candidate := func(generation, content string) Candidate {
		c := f.candidate(generation)
		c.Files = append([]File{{Path: table, Content: []byte(content)}}, c.Files...)
		return c
	}
	tx, _ := f.transaction()
	for _, generation := range []string{"g1", "g2"} {
		if _, err := tx.Apply(t.Context(), candidate(generation, "a.example "+generation[1:]+"\n")); err != nil {
			t.Fatalf("%s: %v\n%s", generation, err, outputOf(err))
		}
		f.serves(generation)
	}
	_, err := tx.Apply(t.Context(), candidate("g3", "a.example one\n"))
	if out := outputOf(err); !strings.Contains(out, table+"'") || strings.Contains(out, ".staged") || strings.Contains(out, "[NOTICE]") {
		t.Errorf("a map that is wrong: %v, output %q", err, out)
	}
	f.serves("g2")
	noLeftovers(t, f.dir)
}

func TestHAProxyRefuses(t *testing.T) {
	for words, want := range map[string]bool{
		"[WARNING]  (2158) : Loading failure!":                          true,
		"Reload failed!":                                                true, // to systemd
		"[WARNING]  (1) : Reexecuting Master process in waitpid mode":   true,
		"[NOTICE]   (2158) : Loading success.":                          false,
		"[ALERT]    (1) : config : 'pidfile' already specified.":        false,
		"[WARNING]  (2161) : Proxy f stopped (cumulated conns: FE: 0).": false,
	} {
		if got := haproxyRefused(words); got != want {
			t.Errorf("%s: got %t", words, got)
		}
	}
}

// A HAProxy without a master cannot be reloaded, and does not say so.
func TestHAProxyWithoutAMaster(t *testing.T) {
	f := newFixture(t, "haproxy")
	write(t, f.main, string(f.config("g1")))
	cmd := exec.Command(f.program, "-db", "-f", f.main)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	write(t, f.pidFile, strconv.Itoa(cmd.Process.Pid))
	h, err := NewHAProxy(HAProxyConfig{Main: f.main, Control: f.control, Program: f.program, Master: HAProxyPidFile(f.pidFile)})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told apart from one that is starting", func() bool {
		err := h.Validate(t.Context(), Staged{Generation: "g1", Files: []StagedFile{{Path: f.main, Staged: f.main}}})
		return err != nil && strings.Contains(err.Error(), "runs without a master")
	})
}

// A master that reads its files anew looks like one that runs without: it is as old as
// before, and listens to no signal.
func TestHAProxyMasterThatIsLoading(t *testing.T) {
	for _, tt := range []struct {
		argv string
		want bool
	}{
		{"-W -f /a.cfg", true},
		{"-Ws -f /a.cfg", true},
		{"-sf 12 13 -x sockpair@3 -f /a.cfg", true},
		{"-f /a.cfg", false},
		{"-x /run/haproxy.sock -sf 12 -f /a.cfg", false},
		{"-f /a.cfg -x", false},
	} {
		// A shell that waits for its input, and takes the rest for arguments of its own.
		cmd := exec.Command("sh", append([]string{"-c", "echo ready; read line", "haproxy"}, strings.Fields(tt.argv)...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // until it runs, it is a copy of the test
			t.Fatal(err)
		}
		h, err := NewHAProxy(HAProxyConfig{Main: "/a.cfg", Master: oldMaster(cmd.Process.Pid)})
		if err != nil {
			t.Fatal(err)
		}
		args, err := h.configured()
		if got := err == nil; got != tt.want || got && !slices.Equal(args.files, []string{"/a.cfg"}) {
			t.Errorf("%s: got %q, %v; want a master %t", tt.argv, args.files, err, tt.want)
		}
		in.Close()
		_ = cmd.Wait()
	}
}

// An oldMaster has been running since the machine was started.
type oldMaster int

func (m oldMaster) Process() (Process, bool)   { return Process{Pid: int(m), Start: 1}, true }
func (oldMaster) Reload(context.Context) error { return ErrNotRunning }
func (oldMaster) Orphans() []Process           { return nil }
func (oldMaster) Words() string                { return "" }
