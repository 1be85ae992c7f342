package cli

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// DefaultEndpoint is where etcd is expected unless --endpoints says otherwise.
const DefaultEndpoint = "http://127.0.0.1:2379"

// Etcd says how to reach etcd, in the flags and variables of etcdctl.
type Etcd struct {
	Endpoints []string // URLs, or host:port
	CACert    string   // PEM file of the authority that signed etcd's certificate; "" means the system's
	Cert, Key string   // PEM files of the client certificate and its key; both or none
	User      string   // name, or name:password; use Login
	Password  string
}

// AddFlags adds the flags, with etcdctl's variables as aliases of their own.
func (e *Etcd) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&e.Endpoints, "endpoints", []string{DefaultEndpoint}, "etcd's client `URLs`, separated by commas")
	fs.StringVar(&e.CACert, "cacert", "", "PEM `FILE` of the authority that signed etcd's certificates (default: the system's)")
	fs.StringVar(&e.Cert, "cert", "", "PEM `FILE` of the client certificate")
	fs.StringVar(&e.Key, "key", "", "PEM `FILE` of the client certificate's key")
	fs.StringVar(&e.User, "user", "", "etcd user, as `NAME` or NAME:PASSWORD")
	fs.StringVar(&e.Password, "password", "", "`PASSWORD` of the etcd user; better in the environment, because every user of the machine can read arguments")
	for _, flag := range []string{"endpoints", "cacert", "cert", "key", "user", "password"} {
		alias(fs, flag, "ETCDCTL_"+strings.ToUpper(flag))
	}
}

// Login gives user and password; both are empty if there is no user.
func (e *Etcd) Login() (user, password string) {
	user, password, both := strings.Cut(e.User, ":")
	if !both {
		password = e.Password
	}
	return user, password
}

// Validate says everything that is wrong, as Mistakes. It looks at no file and
// asks no server; nothing it says holds a password.
func (e *Etcd) Validate() error {
	var m Mistakes
	if len(e.Endpoints) == 0 {
		m.Addf("--endpoints", "write at least one, such as "+DefaultEndpoint, "is empty")
	}
	plain := len(e.Endpoints) > 0
	for _, endpoint := range e.Endpoints {
		hint, err := validateEndpoint(endpoint)
		m.Add("--endpoints", hint, err)
		plain = plain && strings.HasPrefix(endpoint, "http://")
	}
	switch {
	case e.Cert != "" && e.Key == "":
		m.Addf("--cert", "add --key with the file that holds its key", "a certificate without its key")
	case e.Cert == "" && e.Key != "":
		m.Addf("--key", "add --cert with the file that holds the certificate", "a key without its certificate")
	}
	if plain && (e.CACert != "" || e.Cert != "" || e.Key != "") {
		m.Addf("--endpoints", "write the endpoints with https://", "certificates are given, but every endpoint is plain http")
	}
	name, embedded, both := strings.Cut(e.User, ":")
	switch {
	case e.User == "" && e.Password != "":
		m.Addf("--password", "add --user", "a password without a user")
	case e.User == "":
	case name == "":
		m.Addf("--user", "write NAME or NAME:PASSWORD", "the name is empty")
	case both && e.Password != "":
		m.Addf("--user", "leave it out of --user, or unset ETCDCTL_PASSWORD", "the password is given twice")
	case both && embedded == "", !both && e.Password == "":
		m.Addf("--user", "set ETCDCTL_PASSWORD in the environment", "the password is missing")
	}
	return m.Err()
}

// validateEndpoint checks one endpoint: http or https, a host, a port, no more.
func validateEndpoint(endpoint string) (hint string, err error) {
	const hintURL = "write http://HOST:2379 or https://HOST:2379"
	if !strings.Contains(endpoint, "://") {
		if host, port, err := net.SplitHostPort(endpoint); err != nil || host == "" || !isPort(port) {
			return hintURL, fmt.Errorf("%s is neither a URL nor host:port", shown(endpoint))
		}
		return "", nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		// Not shown: what cannot be parsed may hold a password.
		return hintURL, errors.New("an endpoint is not a URL")
	}
	switch text := shown(u.Redacted()); {
	case u.Scheme != "http" && u.Scheme != "https":
		return hintURL, fmt.Errorf("%s is neither http nor https", text)
	case u.User != nil:
		return "give the user with --user", fmt.Errorf("%s holds a user", text)
	case u.Hostname() == "":
		return hintURL, fmt.Errorf("%s has no host", text)
	case u.Port() == "":
		return "etcd's client port is usually 2379", fmt.Errorf("%s has no port", text)
	case !isPort(u.Port()):
		return "etcd's client port is usually 2379", fmt.Errorf("%s has a port that is not from 1 to 65535", text)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "to change where keys are kept, use --prefix", fmt.Errorf("%s has more than a host and a port", text)
	}
	return "", nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
