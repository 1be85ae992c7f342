package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// exposure is the most that `systemd-analyze security` may say of a unit, from 0 to 10. What docker's
// client could do is of no interest: who may use its socket may do everything.
func exposure() map[string]float64 {
	const client = 10
	return map[string]float64{
		"announce.service":       1.2,
		"announce@.service":      2.9,
		"etcd.service":           1.3,
		"render-nginx.service":   2.7,
		"render-apache.service":  2.9,
		"render-haproxy.service": 2.7,
		"balancer@.service":      client,
		"web@.service":           client,
	}
}

func TestExposure(t *testing.T) {
	overall := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)
	for _, u := range units(t) {
		t.Run(u.name, func(t *testing.T) {
			most, ok := exposure()[u.name]
			if !ok {
				t.Fatal("nobody has said how exposed it may be")
			}
			c := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", filepath.Join(folder, u.name))
			c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
			out, err := c.CombinedOutput()
			m := overall.FindSubmatch(out)
			if err != nil || m == nil {
				t.Fatalf("systemd-analyze security: %v\n%s", err, out)
			}
			got, err := strconv.ParseFloat(string(m[1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("exposure %.1f", got)
			if got > most {
				t.Errorf("exposure %.1f, want at most %.1f\n%s", got, most, out)
			}
		})
	}
}
