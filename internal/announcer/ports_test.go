package announcer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValidatePorts(t *testing.T) {
	for in, want := range map[string]string{
		"80": "", "80/tcp": "", "53/udp": "", "80, 53/udp ,443": "", "80,80": "", "80-80": "", "8000-9023/udp": "",
		"":         `port "" is not a number from 1 to 65535`,
		"80,":      `port "" is not a number from 1 to 65535`,
		"0":        `port "0" is not a number from 1 to 65535`,
		"65536":    `port "65536" is not a number from 1 to 65535`,
		"+80":      `port "+80" is not a number from 1 to 65535`,
		"80-":      `port "" is not a number from 1 to 65535`,
		"-80":      `port "" is not a number from 1 to 65535`,
		"80-90-99": `port "90-99" is not a number from 1 to 65535`,
		"90-80":    `range 90-80 runs backwards`,
		"1-65535":  `range 1-65535 holds more than 1024 ports`,
		"80/":      `protocol "" is neither tcp nor udp`,
		"80/sctp":  `protocol "sctp" is neither tcp nor udp`,
		"80/tcp/x": `protocol "tcp/x" is neither tcp nor udp`,
		"80/\n":    `protocol "" is neither tcp nor udp`,
	} {
		got := ""
		if err := ValidatePorts(in); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestParsePorts(t *testing.T) {
	got, err := parsePorts("443, 53/udp,8000-8010,443/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want := []portRange{{443, 443, "tcp"}, {53, 53, "udp"}, {8000, 8010, "tcp"}, {443, 443, "tcp"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(portRange{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80", "80,53/udp", " 80 , 80/tcp", "", ",", "80/", "/", "0", "65536", "80/tcp/udp", "\x00", "８０", "1-2", "2-1", "-", "1-1025"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ranges, err := parsePorts(s)
		if err != nil {
			if len(ranges) > 0 {
				t.Errorf("%v together with %v", ranges, err)
			}
			return
		}
		if len(ranges) == 0 {
			t.Error("no port and no error")
		}
		for _, p := range ranges {
			if p.first == 0 || p.last < p.first || p.last-p.first >= maxPorts || p.proto != "tcp" && p.proto != "udp" {
				t.Errorf("range %+v", p)
			}
		}
	})
}
