package daemon

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

func TestNewLogger(t *testing.T) {
	const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)`
	for _, tc := range []struct{ level, format, want string }{
		{"debug", "text", `^time=` + stamp + ` level=DEBUG msg=small\ntime=` + stamp + ` level=WARN msg=big n=1\n$`},
		{"info", "text", `^time=` + stamp + ` level=WARN msg=big n=1\n$`},
		{"warn", "auto", `^time=` + stamp + ` level=WARN msg=big n=1\n$`},
		{"warn", "json", `^{"time":"` + stamp + `","level":"WARN","msg":"big","n":1}\n$`},
		{"error", "json", `^$`},
	} {
		t.Run(tc.level+" "+tc.format, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", "1:2")
			var out bytes.Buffer
			l, err := NewLogger(&out, tc.level, tc.format)
			if err != nil {
				t.Fatal(err)
			}
			l.Debug("small")
			l.Warn("big", "n", 1)
			if !regexp.MustCompile(tc.want).MatchString(out.String()) {
				t.Errorf("got  %q\nwant %s", out.String(), tc.want)
			}
		})
	}
}

func TestNewLoggerRefuses(t *testing.T) {
	for _, tc := range []struct{ level, format, want string }{
		{"loud", "text", `log level "loud" is none of debug, info, warn and error`},
		{"", "text", `log level "" is none of debug, info, warn and error`},
		{"info", "xml", `log format "xml" is none of text, json and auto`},
	} {
		_, err := NewLogger(io.Discard, tc.level, tc.format)
		if err == nil || err.Error() != tc.want {
			t.Errorf("level %q, format %q: got error %v, want %s", tc.level, tc.format, err, tc.want)
		}
	}
}

func TestNewLoggerLeavesTheTimeToTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stream")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	own := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)

	for _, tc := range []struct {
		stream, format string
		wantTime       bool
	}{
		{own, "auto", false},
		{own, "text", true}, // asked for by name: as it always is
		{own + "0", "auto", true},
		{"nonsense", "auto", true},
		{"", "auto", true},
	} {
		t.Run(tc.format+" "+tc.stream, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", tc.stream)
			if err := f.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			l, err := NewLogger(f, "info", tc.format)
			if err != nil {
				t.Fatal(err)
			}
			l.WithGroup("unit").Info("started", "time", "noon")
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			const rest = "level=INFO msg=started unit.time=noon\n"
			if tc.wantTime != bytes.HasPrefix(got, []byte("time=")) || !bytes.HasSuffix(got, []byte(rest)) {
				t.Errorf("got %q, want it to end in %q, with the time: %v", got, rest, tc.wantTime)
			}
		})
	}
}
