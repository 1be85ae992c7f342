package reload

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const managerPage = `<?xml version='1.0' encoding='UTF-8' ?>
<httpd:manager xmlns:httpd='http://httpd.apache.org'>
  <httpd:balancers>
    <httpd:balancer>
      <httpd:name>balancer://rollcall-web</httpd:name>
      <httpd:timeout>0</httpd:timeout>      <httpd:maxattempts>3</httpd:maxattempts>
      <httpd:workers>
        <httpd:worker>
          <httpd:name>http://[2001:db8::5]:80</httpd:name>
          <httpd:loadfactor>33.33</httpd:loadfactor>
          <httpd:status>Init Ign Drn Ok </httpd:status>
          <httpd:loadfactor>33.33</httpd:loadfactor>
          <httpd:busy>7</httpd:busy>
        </httpd:worker>
      </httpd:workers>
    </httpd:balancer>
    <httpd:balancer>
      <httpd:name>balancer://rollcall-empty</httpd:name>
      <httpd:workers>
      </httpd:workers>
    </httpd:balancer>
  </httpd:balancers>
</httpd:manager>`

func TestParseApachePage(t *testing.T) {
	got, err := parseApachePage([]byte(managerPage))
	want := apachePage{
		"rollcall-web":   {name: "rollcall-web", attempts: 3, workers: []apacheWorker{{url: "http://[2001:db8::5]:80", factor: 3333, status: "Init Ign Drn Ok ", busy: 7}}},
		"rollcall-empty": {name: "rollcall-empty", attempts: -1},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(apacheBalancer{}, apacheWorker{})); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	w := got["rollcall-web"].workers[0]
	if !w.off() || w.plain() || !w.ignoring() || w.added() || w.address() != "[2001:db8::5]:80" {
		t.Errorf("got %+v", w)
	}
	for _, page := range []string{
		"", "busy", managerPage[:len(managerPage)-1], strings.Replace(managerPage, ">7<", ">x<", 1), strings.Replace(managerPage, ">3<", "><", 1),
		"<html>no manager</html>",
	} {
		if got, err := parseApachePage([]byte(page)); !errors.Is(err, errApachePage) {
			t.Errorf("%.40q: got %v, %v; want an error", page, got, err)
		}
	}
}

// What is Apache's own port is left out by it.
func TestApacheAddress(t *testing.T) {
	for url, want := range map[string]string{
		"http://10.0.0.1": "10.0.0.1:80", "ws://[2001:db8::5]": "[2001:db8::5]:80", "ws://10.0.0.1:8080": "10.0.0.1:8080", "http://[::1]:81": "[::1]:81",
	} {
		if got := (apacheWorker{url: url}).address(); got != want {
			t.Errorf("%s is at %s, want %s", url, got, want)
		}
	}
}

func FuzzApachePage(f *testing.F) {
	f.Add([]byte(managerPage))
	f.Add([]byte("<httpd:worker><httpd:balancer><httpd:worker><httpd:busy>18446744073709551615</httpd:manager>"))
	f.Fuzz(func(t *testing.T, page []byte) {
		got, err := parseApachePage(page)
		if err != nil && got != nil {
			t.Errorf("got %v and an error", got)
		}
		for name, b := range got {
			if b == nil {
				t.Errorf("balancer %q is nil", name)
			}
		}
	})
}

func TestParseApachePlace(t *testing.T) {
	h, balancer, err := parseApachePlace("https://www.example.com@[::1]:443/rollcall-web")
	if want := (apacheHost{"https", "[::1]:443", "www.example.com"}); err != nil || h != want || balancer != "rollcall-web" {
		t.Errorf("got %+v, %q, %v", h, balancer, err)
	}
	for _, place := range []string{"", "web", "http://127.0.0.1:80/web", "http://a@127.0.0.1:80/", "ftp://a@127.0.0.1:80/web", "http://a@/web", "http://a b@c/\n"} {
		if _, _, err := parseApachePlace(place); err == nil {
			t.Errorf("%q was taken", place)
		}
	}
}

// TestApacheWants has changes in the order in which no request is without a member.
func TestApacheWants(t *testing.T) {
	w := newApacheWant("b", &Pool{Name: "p", Members: []Member{{"a", "10.0.0.1:80", 100}, {"b", "10.0.0.2:80", 50}, {"c", "10.0.0.3:80", 0}}})
	b := &apacheBalancer{workers: []apacheWorker{{url: "http://10.0.0.1:80", status: "Init Ok ", factor: 10000}, {url: "http://10.0.0.3:80", status: "Init Ok ", factor: 10000}}}
	list := func() (got []string) {
		for _, c := range w.changes(b, true) {
			got = append(got, c.set.Encode())
		}
		return got
	}
	if diff := cmp.Diff([]string{"b_max=1&b_nwrkr=ws%3A%2F%2F10.0.0.2%3A80&b_wyes=1"}, list()); diff != "" {
		t.Errorf("first (-want +got):\n%s", diff)
	}
	b.workers = append(b.workers, apacheWorker{url: "ws://10.0.0.2:80", status: "Init Dis ", factor: 100})
	want := []string{
		"b_max=1&w=ws%3A%2F%2F10.0.0.2%3A80&w_lf=50&w_status_D=0&w_status_H=0&w_status_I=0&w_status_N=0&w_status_R=0&w_status_S=0",
		"b_max=1&w=http%3A%2F%2F10.0.0.3%3A80&w_status_N=1",
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
	b.workers[1].status, b.workers[2] = "Init Drn Ok ", apacheWorker{url: "ws://10.0.0.2:80", status: "Init Err ", factor: 4999}
	if diff := cmp.Diff([]string{"b_max=1"}, list()); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
	if b.attempts = 1; len(list()) > 0 {
		t.Errorf("at last: got %q", list())
	}
}
