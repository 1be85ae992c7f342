package cli

import (
	"bytes"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	err := Table(&out, []string{"service", "Endpoint", "age"}, [][]string{
		{"web", "10.0.0.5:32768", "3m"},
		{"a-long-service", "", "2h"},
		{"ünï\x1b[31m\tx", "[2001:db8::5]:80", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `SERVICE          ENDPOINT           AGE
web              10.0.0.5:32768     3m
a-long-service   -                  2h
ünï?[31m?x       [2001:db8::5]:80   -
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTableWithoutRows(t *testing.T) {
	var out bytes.Buffer
	if err := Table(&out, []string{"service", "age"}, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "SERVICE   AGE\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestTableSaysThatItCannotPrint(t *testing.T) {
	err := Table(brokenPipe{}, []string{"service"}, nil)
	if err == nil || err.Error() != "print table: broken pipe" {
		t.Errorf("got %v, want print table: broken pipe", err)
	}
}

func TestAge(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Minute, "0s"},
		{0, "0s"},
		{999 * time.Millisecond, "0s"},
		{5 * time.Second, "5s"},
		{119 * time.Second, "119s"},
		{2 * time.Minute, "2m"},
		{3*time.Minute + 59*time.Second, "3m"},
		{2*time.Hour - 1, "119m"},
		{2 * time.Hour, "2h"},
		{2*day - 1, "47h"},
		{2 * day, "2d"},
		{4*day + time.Hour, "4d"},
		{800 * day, "800d"},
	} {
		if got := Age(tc.d); got != tc.want {
			t.Errorf("Age(%s) = %s, want %s", tc.d, got, tc.want)
		}
	}
}

func TestVersion(t *testing.T) {
	setting := func(kv ...string) (s []debug.BuildSetting) {
		for i := 0; i < len(kv); i += 2 {
			s = append(s, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return s
	}
	for _, tc := range []struct {
		release string
		info    debug.BuildInfo
		want    string
	}{
		{"1.2.3", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "(devel)"}}, "1.2.3 (go1.26.0)"},
		{"", debug.BuildInfo{GoVersion: "go1.26.0"}, "devel (go1.26.0)"},
		{"", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "(devel)"}, Settings: setting("GOOS", "linux", "GOARCH", "amd64")}, "devel (go1.26.0, linux/amd64)"},
		{"", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v0.1.0"}, Settings: setting("vcs.revision", "52c7248a14c0ffee52c7", "vcs.modified", "false")}, "v0.1.0 (commit 52c7248a14c0, go1.26.0)"},
		{"", debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: "v0.1.0+dirty"}, Settings: setting("vcs.revision", "52c7", "vcs.modified", "true")}, "v0.1.0+dirty (commit 52c7, modified, go1.26.0)"},
	} {
		if got := version(tc.release, &tc.info); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
	if got := Version(); !strings.Contains(got, runtime.Version()) {
		t.Errorf("Version() = %s, want %s in it", got, runtime.Version())
	}
}
