package announcer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery/docker"
)

func TestValidatePorts(t *testing.T) {
	for in, want := range map[string]string{
		"80": "", "80/tcp": "", "53/udp": "", "80, 53/udp ,443": "", "80,80": "",
		"":         `port "" is not a number from 1 to 65535`,
		"80,":      `port "" is not a number from 1 to 65535`,
		"0":        `port "0" is not a number from 1 to 65535`,
		"65536":    `port "65536" is not a number from 1 to 65535`,
		"+80":      `port "+80" is not a number from 1 to 65535`,
		"80-90":    `port "80-90" is not a number from 1 to 65535`,
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
	got, err := parsePorts("443, 53/udp,53,443/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want := []docker.Port{{Number: 443, Proto: "tcp"}, {Number: 53, Proto: "udp"}, {Number: 53, Proto: "tcp"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80", "80,53/udp", " 80 , 80/tcp", "", ",", "80/", "/", "0", "65536", "80/tcp/udp", "\x00", "８０"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := parsePorts(s)
		if err != nil {
			if len(ports) > 0 {
				t.Errorf("%v together with %v", ports, err)
			}
			return
		}
		if len(ports) == 0 {
			t.Error("no port and no error")
		}
		for i, p := range ports {
			if p.Number == 0 || p.Proto != "tcp" && p.Proto != "udp" {
				t.Errorf("port %+v", p)
			}
			for _, o := range ports[:i] {
				if o.Number == p.Number && o.Proto == p.Proto {
					t.Errorf("port %+v twice", p)
				}
			}
		}
	})
}
