package templates

import (
	"bytes"
	"errors"
	"slices"
	"strings"
)

// HostMap gives the content of the file Balancer.HostMap, in which HAProxy finds the
// backend of a request: one look-up, where rules would be tried one after the other.
//
// A key is a host and the beginning of a path, closed by a slash, so that the longest
// one that a request begins with is its route; host "*" is every other one. The value is
// the backend, or "none" where the host has no route for other paths, with ":tls" behind
// it where the host has a certificate.
//
// A route to an upstream that is not declared is an error, as in a template.
func HostMap(b Balancer) ([]byte, error) {
	var out bytes.Buffer
	var errs []error
	out.WriteString("# HAProxy map made by rollcall. Edits are lost with the next change of the catalog.\n")
	add := func(host string, routes []Route) {
		end := "\n"
		if b.Certificate(host) != "" {
			end = ":tls\n"
		}
		for _, r := range routes {
			if _, err := b.Upstream(r.Upstream); err != nil {
				errs = append(errs, err)
			}
			out.WriteString(host + r.Path + "/ rollcall_" + r.Upstream + end)
		}
		if !(Site{Routes: routes}).Rooted() {
			out.WriteString(host + "/ none" + end)
		}
	}
	named := make(map[string]bool, len(b.Hosts))
	for _, h := range b.Hosts {
		named[h.Name] = true
		add(h.Name, h.Routes)
	}
	for _, c := range b.Certificates {
		if b.TLS() && c.Name != "" && !named[c.Name] {
			add(c.Name, b.Default.Routes)
		}
	}
	add("*", b.Default.Routes)
	return out.Bytes(), errors.Join(errs...)
}

// CertificateList gives the content of the file Balancer.CertificateList, in HAProxy's
// format of a crt-list. The certificate for every other name is the first, which is
// the one HAProxy falls back to; it answers to none of the names in it.
func CertificateList(certs []Certificate) []byte {
	var out bytes.Buffer
	out.WriteString("# HAProxy certificates, listed by rollcall. Edits are lost with the next change.\n")
	for _, c := range slices.SortedFunc(slices.Values(certs), func(x, y Certificate) int { return strings.Compare(x.Name, y.Name) }) {
		name := c.Name
		if name == "" {
			name = "!*"
		}
		out.WriteString(c.File + " " + name + "\n")
	}
	return out.Bytes()
}
