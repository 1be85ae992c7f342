package reload

import (
	"os"
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
		{"7 (nginx) S 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0", stat{Process{7, 99}, "nginx", 'S', 3, 4}, true},
		{"7 (a) b (c) Z 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99 0", stat{Process{7, 99}, "a) b (c", 'Z', 3, 4}, true},
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

func TestListener(t *testing.T) {
	const listen = "   0: 0100007F:4949 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31598 1 0000000000000000 100 0 0 10 0"
	if inode, ok := parseListener(listen); !ok || inode != "31598" {
		t.Errorf("listener: got %q, %t", inode, ok)
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
