package templates

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/discovery"
)

// Balancer is all that a balancer's configuration is made from. Every string in
// it has been validated, and every address has been resolved: a server that looks
// a name up at its start is one that does not start when the resolver is away.
type Balancer struct {
	Proxy      string // "nginx", "apache", "haproxy"; of `render file`, "file"
	Revision   int64  // etcd's revision; a template sees a token, see Template.Render
	Generation string // name of the rendered content; likewise
	Structure  string // name of it less who the members are; likewise

	// Standalone asks for a whole main configuration, the supervised proxy's.
	// Otherwise the result is a fragment for the server's include directory: nginx
	// reads it inside http{}, Apache in server context.
	Standalone bool

	Listen    []string // at least one, as --listen takes it: ":80", "127.0.0.1:8080", "[::1]:80"
	ListenTLS []string // likewise, with TLS; empty without certificates
	IPv6      bool     // the machine has IPv6, so ":80" stands for its addresses too

	Settings Settings // what --set says

	// Control is where the server tells its generation: the path of a unix socket for
	// nginx and HAProxy, an address such as "127.0.0.1:9403" for Apache. "" leaves it out.
	Control string

	// Members is how the server's members are changed while it runs; "" when only a reload
	// changes them. HAProxy: the path of the unix socket of its runtime API. Apache: the
	// secret by which its balancer manager knows who may. nginx: what NginxMembers gives.
	Members string

	// Gate is the file during whose existence the answers to clients end their connections;
	// "" leaves it out. For nginx and Apache.
	Gate string

	// Side is the file during whose existence Apache's requests go to the doubles of its
	// balancers, see ApacheDouble; "" leaves these out.
	Side string

	// User and Group are whom the workers run as when root starts the server; "" when not root.
	User, Group string

	// For standalone only: absolute paths. ErrorLog may be "stderr", which it always is for HAProxy; RunDir exists,
	// is the server's alone, and may be entered by User.
	PidFile, ErrorLog, RunDir string

	Modules string // Apache: directory of the modules; "" when they are all loaded already

	// StreamModule is the file of the module that nginx needs for TCP; "" when it is built in.
	StreamModule string
	// LuaModules are the files of those that it needs for Members, in the order in which
	// they are loaded; empty when they are built in.
	LuaModules []string

	Upstreams []Upstream    // every service that is routed to, also empty ones, sorted by name
	Hosts     []VirtualHost // named hosts, sorted by name
	Default   VirtualHost   // Name ""; answers every other host; without routes, 404
	TCP       []TCPListener // sorted by address

	// Certificates, sorted by name: "www.example.com", "*.example.com", or "" for every
	// name that has none of its own.
	Certificates []Certificate
	// CertificateList is the file that CertificateList makes of them; "" where none is needed.
	CertificateList string

	// HostMap is the file that HostMap makes of the routes, for HAProxy. Like those of
	// certificates, its name should tell its content, so that no worker reads another's.
	HostMap string

	DropIns []Fragment // the operator's own, sorted by path

	// Services are the catalog itself, for templates that want more than the above:
	// all instances that are routed to, with all that is known about them. Sorted by name.
	Services []*discovery.Service
}

// A TCPListener passes connections to one address on to a service, whatever they carry.
type TCPListener struct {
	Listen   string // as in Balancer.Listen
	Upstream string
}

// A Certificate is what a host name is proven with.
type Certificate struct {
	Name string
	File string // a PEM file with the chain, the server's first, and the key; its name tells its content
}

// A Fragment is a file of the operator's, which becomes part of the configuration as it is.
type Fragment struct {
	Path    string
	Content string
}

// An Upstream is a service and the servers that answer for it.
type Upstream struct {
	Name    string
	Servers []Server // sorted by name; empty means 503 with Retry-After
}

// A Server is one instance of a service.
type Server struct {
	Name          string
	Host          string // as announced; a name or an address
	Port          uint16
	Address       string // what Host resolved to, with the port: "10.0.0.5:80", "[2001:db8::5]:80"
	Weight        int    // 0–256; 0 means no new requests
	Version, Node string
}

// A VirtualHost is a host name and where its requests go.
type VirtualHost struct {
	Name   string
	Routes []Route // longest path first
}

// A Route sends the requests below a path to an upstream. Path "" is everything,
// "/shop" is /shop and what is below /shop/, but not /shopping. The server behind
// sees the path as the client wrote it.
type Route struct{ Path, Upstream string }

// Upstream finds an upstream by name. A route to one that is not there would be
// refused by the server, or answered by a resolver, so it is an error.
func (b Balancer) Upstream(name string) (Upstream, error) {
	i, ok := slices.BinarySearchFunc(b.Upstreams, name, func(u Upstream, name string) int { return cmp.Compare(u.Name, name) })
	if !ok {
		return Upstream{}, fmt.Errorf("route to upstream %q, which is not declared", name)
	}
	return b.Upstreams[i], nil
}

// Service finds a service of the catalog by name. One that is not there has no
// instances now, which is nothing that a template could tell from a misspelt name.
func (b Balancer) Service(name string) *discovery.Service {
	i, ok := slices.BinarySearchFunc(b.Services, name, func(s *discovery.Service, name string) int { return cmp.Compare(s.Name, name) })
	if !ok {
		return &discovery.Service{Name: name}
	}
	return b.Services[i]
}

// Active counts the servers that may get new requests.
func (u Upstream) Active() int {
	n := 0
	for _, s := range u.Servers {
		if s.Weight > 0 {
			n++
		}
	}
	return n
}

// Summary says how many servers there are, and what follows if none may be asked.
func (u Upstream) Summary() string {
	switch n := len(u.Servers); {
	case n == 0:
		return "no server; 503"
	case u.Active() == 0:
		return fmt.Sprintf("%d of weight 0, no other server; 503", n)
	case n == 1:
		return "1 server"
	default:
		return fmt.Sprintf("%d servers", n)
	}
}

// maxSpares bounds the servers that nginx is told of twice: what a large service would
// cost it is more than they are worth.
const maxSpares = 32

// Spares gives active servers that nginx is told of a second time, so that there are
// some left to ask when its passive checks have taken out all: it has no other way.
func (u Upstream) Spares() []Server {
	var spares []Server
	for _, s := range u.Servers {
		if s.Weight > 0 && len(spares) < maxSpares {
			spares = append(spares, s)
		}
	}
	return spares
}

// ZoneKB is the size, in KiB, of the memory in which nginx's workers share what they
// know about the upstream's servers. 1.22 needs about 0.9 KiB for one with an IPv6
// address, and refuses the whole configuration when there is not enough.
func (u Upstream) ZoneKB() int {
	return (32 + 2*(len(u.Servers)+len(u.Spares())) + 63) / 64 * 64
}

// MaxWeight gives the largest weight of the upstream's servers.
func (u Upstream) MaxWeight() int {
	most := 0
	for _, s := range u.Servers {
		most = max(most, s.Weight)
	}
	return most
}

// LoadFactor gives a server's weight on Apache's scale, 1 to 100 with two decimals.
// Where maxWeight, the largest weight of its upstream, is above 100, all shrink in proportion.
func (s Server) LoadFactor(maxWeight int) string {
	hundredths := max(100, s.Weight*10000/max(100, maxWeight))
	if hundredths%100 == 0 {
		return strconv.Itoa(hundredths / 100)
	}
	return fmt.Sprintf("%d.%02d", hundredths/100, hundredths%100)
}

// BalancerName gives the name under which Apache knows the upstream. Apache names
// the memory of a balancer after it, with every character but letters and digits
// made an underscore, and does not start when two are the same; and older versions
// allow 63 characters with the scheme. So a name that is long, or has anything but
// '-' between letters and digits, is told apart by a hash and a prefix that no plain name has.
// There has to be room for the name of ApacheSwitch in front.
func (u Upstream) BalancerName() string {
	if len(u.Name) <= 32 && !strings.ContainsAny(u.Name, "._") {
		return "rollcall-" + u.Name
	}
	sum := sha256.Sum256([]byte(u.Name))
	return "rollcallx-" + u.Name[:min(len(u.Name), 16)] + "-" + hex.EncodeToString(sum[:8])
}

// Label describes a server in a comment. It never ends in a backslash, which in
// Apache's files would draw the next line into the comment.
func (s Server) Label() string {
	var about []string
	if host, ok := strings.CutSuffix(s.Address, ":"+strconv.Itoa(int(s.Port))); !ok || strings.Trim(host, "[]") != s.Host {
		about = append(about, "host "+s.Host)
	}
	if s.Version != "" {
		about = append(about, "version "+s.Version)
	}
	if s.Node != "" {
		about = append(about, "node "+s.Node)
	}
	if len(about) == 0 {
		return s.Name
	}
	return s.Name + " (" + strings.Join(about, ", ") + ")"
}
