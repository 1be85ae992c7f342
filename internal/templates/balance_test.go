package templates

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBalance has servers choose in each way that they know. That there is but one
// client, whose requests follow upon each other, tells the ways apart.
func TestBalance(t *testing.T) {
	for balance, able := range map[string][]string{
		"roundrobin": withLua(proxies), "leastconn": withLua(proxies), "source": withLua(streams), "random": withLua(streams),
	} {
		for _, proxy := range able {
			t.Run(proxy+"/"+balance, func(t *testing.T) { testBalance(t, proxy, balance) })
		}
	}
}

func testBalance(t *testing.T, proxy, balance string) {
	busy, release := make(chan string, 1), make(chan struct{})
	server := func(name string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Backend", name)
			if r.URL.Path == "/busy" {
				busy <- name
				<-release
			}
		}))
		t.Cleanup(s.Close)
		return s
	}
	b := Balancer{
		Proxy: proxy, Standalone: true, Settings: DefaultSettings(),
		Upstreams: []Upstream{upstream("web", server("a"), server("b"))}, Default: VirtualHost{Routes: []Route{{"", "web"}}},
	}
	b.Settings.Balance = balance
	r := start(t, b)
	ask := func(times int) string {
		var answers strings.Builder
		for range times {
			resp, _ := r.send(t, "GET", "any", "/", "")
			answers.WriteString(resp.Header.Get("X-Backend"))
		}
		return answers.String()
	}
	answers := ask(40)
	if strings.Trim(answers, "ab") != "" || len(answers) != 40 {
		t.Fatalf("got answers from %q, want a and b", answers)
	}
	if got, want := strings.Count(answers, "a")*strings.Count(answers, "b") == 0, balance == "source"; got != want {
		t.Errorf("one server for a client: %v, want %v: %s", got, want, answers)
	}
	if got, want := strings.Contains(answers, "aa") || strings.Contains(answers, "bb"), balance == "source" || balance == "random"; got != want && balance != "leastconn" {
		t.Errorf("the same server twice in a row: %v, want %v: %s", got, want, answers)
	}
	if balance != "leastconn" {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.Get("http://" + r.address + "/busy"); err == nil {
			resp.Body.Close()
		}
	}()
	defer func() { close(release); <-done }()
	select {
	case one := <-busy:
		// Apache and nginx's Lua count an answer as finished shortly after the client does.
		if answers := ask(40); strings.Count(answers, one) > 10 {
			t.Errorf("%s is busy: got answers from %s", one, answers)
		}
	case <-done:
		t.Error("the request that was to take long has an answer")
	}
}
