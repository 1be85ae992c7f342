// Package discovery is rollcall's vocabulary: services, their instances, the
// keys and values that describe them in etcd, and the catalog a balancer is
// made from. It is pure: it knows no network, no clock, no etcd, no Docker and
// no proxy, and imports the standard library only, so that both programs and
// every test can share it.
//
// Everything that comes from outside passes through here once. An Instance that
// left this package has been validated: names, hosts, paths and numbers may stand
// in a configuration as they are. Text meant for people (Version, Node, Machine,
// Container, Meta, Extra) is one printable line, so that it may stand in a
// comment; it can hold quotes and braces, and needs quoting anywhere else.
package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultPrefix is the key below which records are kept unless --prefix says otherwise.
const DefaultPrefix = "/services"

// Limits of a record's weight. 256 is HAProxy's maximum; 0 means "no new requests".
const (
	DefaultWeight = 100
	MaxWeight     = 256
)

// An Instance is one running copy of a service: one address and port that
// answers for it, and what is known about where that comes from.
type Instance struct {
	Service string // the service's name
	Name    string // unique within the service

	Host string // an IP address, or an RFC 1123 host name in lower case
	Port uint16 // 1–65535

	Proto     string            // "tcp" or "udp"
	Version   string            // free text, for people
	Weight    int               // share of the traffic, 0–MaxWeight
	Node      string            // the machine's name
	Machine   string            // the machine's id, as in /etc/machine-id
	Container string            // the container's id
	Started   time.Time         // when the container started; zero if unknown
	Hosts     []string          // host names the service answers to
	Path      string            // path prefix the service answers to; "" if none
	Meta      map[string]string // whatever else its owner wants known

	// Extra holds fields of the record that this version of rollcall does not know,
	// as they were written (compact JSON, or text in the directory layout). What is
	// not one printable line of moderate length is left out.
	Extra map[string]string

	// Revision is etcd's revision of the newest key the instance was read from;
	// 0 when it did not come from etcd.
	Revision int64

	// Lease is the id of the lease that the newest key hangs on; 0 if it hangs on none.
	Lease int64
	// Held is set for an instance whose record went with its lease, together with so
	// many others of its service that it is rather etcd or the network that failed.
	Held bool
}

// Endpoint gives host and port in the form "10.0.0.5:80" or "[2001:db8::5]:80".
func (i *Instance) Endpoint() string { return JoinHostPort(i.Host, i.Port) }

// ID gives the instance's full name, "service/instance".
func (i *Instance) ID() string { return i.Service + "/" + i.Name }

// Addr gives the host as an address; ok is false when it is a name.
func (i *Instance) Addr() (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(i.Host)
	return addr, err == nil
}

// JoinHostPort joins a host and a port, with brackets around an IPv6 address.
func JoinHostPort(host string, port uint16) string {
	p := strconv.Itoa(int(port))
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + p
	}
	return host + ":" + p
}

// A Service is a name and the instances that answer for it, sorted by name.
type Service struct {
	Name      string
	Instances []*Instance
}

// A Catalog is an immutable picture of all services at one revision of etcd.
// Whoever holds one may keep and share it, but must not change it.
type Catalog struct {
	Revision int64
	Services []*Service // sorted by name; never one without instances
	Refused  []Refusal  // sorted by key

	// Mourned names instances, as "service/instance" and sorted, that are gone and may yet
	// be back as held, see Guard: nobody knows that they were deleted, and should more go
	// the way they went, that was no end.
	Mourned []string

	// Stale is set while etcd has not answered since the start, for what was read from a cache.
	Stale bool
}

// A Refusal says why a key below the prefix is not part of the catalog.
type Refusal struct {
	Key      string `json:"key"`
	Reason   string `json:"reason"`
	Revision int64  `json:"revision"`
	// Incomplete is set while a directory lacks fields its writer may still be about to write.
	Incomplete bool `json:"incomplete,omitempty"`
}

// Service finds a service by its name.
func (c *Catalog) Service(name string) (*Service, bool) {
	i, ok := slices.BinarySearchFunc(c.Services, name, func(s *Service, name string) int { return cmp.Compare(s.Name, name) })
	if !ok {
		return nil, false
	}
	return c.Services[i], true
}

// Len counts the instances of all services.
func (c *Catalog) Len() int {
	n := 0
	for _, s := range c.Services {
		n += len(s.Instances)
	}
	return n
}
