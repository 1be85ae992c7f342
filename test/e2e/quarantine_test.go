package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A template of the operator's lets a record say what the server does not take. That
// service stays as it was; all others go on.
func TestQuarantine(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		template, builtin := ownTemplate(t, proxy)
		replace(t, template, builtin+"\n{{range .Services}}{{range .Instances}}{{with index .Meta \"own\"}}"+map[string]string{
			"nginx":   "env {{.}};",
			"apache":  "Define {{.}}",
			"haproxy": "\nglobal\n    maxconn {{.}}",
		}[proxy]+"\n{{end}}{{end}}{{end}}")
		record := func(address, own string) string {
			host, port, _ := strings.Cut(address, ":")
			return fmt.Sprintf(`{"host":%q,"port":%s,"meta":{"own":%q}}`, host, port, own)
		}
		a, b := serveName(t, "a"), serveName(t, "b")
		put(t, endpoint, "/services/shop/a", record(a, "1000"))
		put(t, endpoint, "/services/web/a", a)
		r := startRender(t, proxy, endpoint, "--route", "shop.example.com=shop", "--route", "*=web", "--template", template)

		put(t, endpoint, "/services/shop/a", record(b, "1 2 3 }"))
		eventually(t, "the service is in quarantine", func() error {
			s := r.state(t)
			if len(s.Quarantined) != 1 || s.Quarantined[0].Service != "shop" || s.Quarantined[0].Reason == "" {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
		put(t, endpoint, "/services/web/b", b)
		eventually(t, "the others go on", func() error { return evenly(r.url, "a", "b") })
		if code, header, body := getHost(r.url, "shop.example.com"); code != 200 || header.Get("X-Instance") != "a" {
			t.Errorf("the service does not stay as it was: %d %s", code, body)
		}
		put(t, endpoint, "/services/shop/a", record(b, "2000"))
		eventually(t, "a good record is served again", func() error {
			if code, header, body := getHost(r.url, "shop.example.com"); code != 200 || header.Get("X-Instance") != "b" {
				return fmt.Errorf("%d %s", code, body)
			}
			if s := r.state(t); len(s.Quarantined) != 0 {
				return errors.New("it is in quarantine")
			}
			return ready(r.status)
		})
	})
}
