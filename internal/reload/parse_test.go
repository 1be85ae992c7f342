package reload

import (
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestStat(t *testing.T) {
	tail := " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"
	tests := []struct {
		text string
		want stat
		ok   bool
	}{
		{"7 (nginx) S 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5 0 99 0", stat{Process{7, 99}, "nginx", 'S', 3, 4, 5}, true},
		{"7 (a) b (c) Z 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0", stat{Process{7, 99}, "a) b (c", 'Z', 3, 4, 0}, true},
		{"7 (x) S 1", stat{}, false},
		{"7 x S" + tail, stat{}, false},
		{"y (x) S" + tail, stat{}, false},
		{"", stat{}, false},
	}
	for _, tt := range tests {
		got, err := parseStat(tt.text)
		if (err == nil) != tt.ok || tt.ok && got != tt.want {
			t.Errorf("%q: got %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
	}
	if s, err := readStat(os.Getpid()); err != nil || s.Pid != os.Getpid() || s.ppid != os.Getppid() || s.Start == 0 || s.Start > bootTicks() {
		t.Errorf("this process: %+v, %v", s, err)
	}
}

// Children that end while they are listed hide none of the others.
func TestChildrenOf(t *testing.T) {
	self, ok := findProcess(os.Getpid())
	if !ok {
		t.Fatal("this process is not there")
	}
	var stay []*exec.Cmd
	for range 5 {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		stay = append(stay, cmd)
	}
	t.Cleanup(func() {
		for _, cmd := range stay {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			_ = exec.Command("true").Run()
		}
	}()
	for looks := 0; ; looks++ {
		found := childrenOf(self)
		for _, cmd := range stay {
			if !slices.ContainsFunc(found, func(p Process) bool { return p.Pid == cmd.Process.Pid }) {
				t.Fatalf("look %d misses a child: %v", looks, found)
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestListener(t *testing.T) {
	const listen = "   0: 0100007F:4949 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31598 1 0000000000000000 100 0 0 10 0"
	want := listener{netip.MustParseAddrPort("127.0.0.1:18761"), 0, "socket:[31598]"}
	if got, ok := parseListener(listen); !ok || got != want {
		t.Errorf("got %v, %t, want %v", got, ok, want)
	}
	for text, want := range map[string]string{
		"00000000000000000000000000000000:0050": "[::]:80",
		"B80D0120000000000000000001000000:01BB": "[2001:db8::1]:443",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
	} {
		if got, ok := parseAddress(text); !ok || got.String() != want {
			t.Errorf("%s: got %v, %t, want %s", text, got, ok, want)
		}
	}
	if _, ok := parseListener(strings.Replace(listen, " 0A ", " 01 ", 1)); ok {
		t.Error("a connection is taken for a listener")
	}
}

func FuzzStat(f *testing.F) {
	f.Add("7 (nginx) S 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0")
	f.Add("7 () ) S")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStat(text)
		if err == nil && !strings.Contains(text, s.comm) {
			t.Errorf("name %q is not in %q", s.comm, text)
		}
		_, _ = parseListener(text)
	})
}
