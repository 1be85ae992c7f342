package templates

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// ApacheManager is the path, in each virtual host with balancers, at which Apache's
// balancer manager answers this machine. The beginning of the secret makes it one that
// nobody else has; it may show in logs.
func (b Balancer) ApacheManager() string {
	return "/rollcall/members-" + b.Members[:min(apachePathDigits, len(b.Members))]
}

// ApacheKey is the rest of the secret, which a request has to bring along in the header
// X-Rollcall-Members: other than a path, it shows in no log, and on no page of mod_status.
func (b Balancer) ApacheKey() (string, error) {
	if len(b.Members) != apacheSecretDigits {
		return "", fmt.Errorf("the secret has %d digits, not %d", len(b.Members), apacheSecretDigits)
	}
	return b.Members[apachePathDigits:], nil
}

// Digits of the secret, and of those the ones that are in the path.
const apacheSecretDigits, apachePathDigits = 32, 8

// ApacheGrowth is how many addresses a balancer can get to know before a reload has to make
// room again; 0 where each new one is a reload. Apache sets 2 KiB aside for each, and takes
// longer to start the more balancers there are, as their square: 500 with their doubles
// take 0.3 s. It changes in steps, because it is part of the structure.
func (b Balancer) ApacheGrowth() int {
	const few, most, room = 16, 64, 8192
	if b.Members == "" || b.Side == "" {
		return 0
	}
	growth, balancers := most, 0
	for _, places := range b.ApachePlaces() {
		balancers += len(places)
	}
	for growth*balancers > room {
		if growth /= 2; growth < few {
			return 0
		}
	}
	return growth
}

// ApacheDouble is before the name of a balancer's double: there are two of each where members
// may join while Apache runs, and requests go to one. Apache's manager adds a worker to a
// list that other threads of the child are reading, and such a child crashes now and then,
// with every request in it: on a quiet machine, at 2,500 requests a second, with 2 of 475
// additions. So it adds to the one that nobody is sent to, and then they change places.
const ApacheDouble = "b"

// apacheSwitch is the variable that is ApacheDouble while requests go to the doubles. With
// its colon Apache does not take it for one of the configuration's own.
const apacheSwitch = ":side"

// ApacheSwitch is the text in which Apache writes the variable's value.
func (b Balancer) ApacheSwitch() string { return "${" + apacheSwitch + "}" }

// ApacheSwitched says when it is what.
func (b Balancer) ApacheSwitched() string { return apacheSwitch + "=" + ApacheDouble }

// ApacheSided is the expression for the variable's value.
func (b Balancer) ApacheSided() string { return "%{reqenv:" + apacheSwitch + "}" }

// ApacheDoubles are the beginnings of a balancer's names.
func (b Balancer) ApacheDoubles() []string {
	if b.ApacheGrowth() == 0 {
		return []string{""}
	}
	return []string{"", ApacheDouble}
}

// Attempts is how many other servers Apache may try for a request: as many as there are.
// 99 is the most that it can be told while it runs.
func (u Upstream) Attempts() int { return max(0, min(99, u.Active()-1)) }

// ServerName is by what Apache knows the site's virtual hosts: its first name, or one that
// is nobody's where that is a pattern, or there is none.
func (s Site) ServerName() string {
	if len(s.Names) == 0 {
		return "rollcall-default.invalid"
	}
	if suffix, ok := strings.CutPrefix(s.Names[0], "*"); ok {
		return "rollcall-wildcard" + suffix + ".invalid"
	}
	return s.Names[0]
}

// ApachePlaces gives for each upstream the balancers that Apache keeps of it, one in each
// virtual host with a route there: "http://www.example.com@127.0.0.1:80/rollcall-web" is
// the balancer rollcall-web in the host www.example.com, reached at 127.0.0.1:80.
func (b Balancer) ApachePlaces() map[string][]string {
	places := map[string][]string{}
	for _, s := range b.sites() {
		for _, name := range upstreamNames(s.Routes) {
			balancer := Upstream{Name: name}.BalancerName()
			if s.Plain && !s.Redirect && len(b.Listen) > 0 {
				places[name] = append(places[name], place("http", s, b.Listen[0], balancer))
			}
			if s.Certificate != "" {
				places[name] = append(places[name], place("https", s, b.ListenTLS[0], balancer))
			}
		}
	}
	return places
}

func place(scheme string, s Site, listen, balancer string) string {
	u := url.URL{Scheme: scheme, User: url.User(s.ServerName()), Host: fromHere(listen), Path: "/" + balancer}
	return u.String()
}

// fromHere gives the address at which this machine reaches what listens on another: the
// loopback address where that is every one.
func fromHere(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "", err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
