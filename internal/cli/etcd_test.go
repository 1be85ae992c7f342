package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEtcdValidate(t *testing.T) {
	const hintURL = "\n   hint: write http://HOST:2379 or https://HOST:2379"
	const hintPort = "\n   hint: etcd's client port is usually 2379"
	one := []string{DefaultEndpoint}
	endpoint := func(s string) Etcd { return Etcd{Endpoints: []string{s}} }
	for _, tc := range []struct {
		name string
		etcd Etcd
		want string
	}{
		{"default", Etcd{Endpoints: one}, ""},
		{"all forms", Etcd{Endpoints: []string{"http://a:2379", "https://[2001:db8::5]:2379/", "10.0.0.5:2379", "[::1]:1"}}, ""},
		{"certificates", Etcd{Endpoints: []string{"https://a:2379"}, CACert: "ca", Cert: "c", Key: "k"}, ""},
		{"certificates and host:port", Etcd{Endpoints: []string{"a:2379"}, CACert: "ca"}, ""},
		{"user with password", Etcd{Endpoints: one, User: "root:a:b"}, ""},
		{"user and password", Etcd{Endpoints: one, User: "root", Password: "x"}, ""},

		{"none", Etcd{}, "--endpoints: is empty\n   hint: write at least one, such as http://127.0.0.1:2379"},
		{"no port", endpoint("etcd"), `--endpoints: "etcd" is neither a URL nor host:port` + hintURL},
		{"no host", endpoint(":2379"), `--endpoints: ":2379" is neither a URL nor host:port` + hintURL},
		{"bad port", endpoint("etcd:0"), `--endpoints: "etcd:0" is neither a URL nor host:port` + hintURL},
		{"empty", endpoint(""), `--endpoints: "" is neither a URL nor host:port` + hintURL},
		{"scheme", endpoint("ftp://a:1"), `--endpoints: "ftp://a:1" is neither http nor https` + hintURL},
		{"URL without port", endpoint("http://a"), `--endpoints: "http://a" has no port` + hintPort},
		{"URL with bad port", endpoint("http://a:70000"), `--endpoints: "http://a:70000" has a port that is not from 1 to 65535` + hintPort},
		{"URL without host", endpoint("http://:2379"), `--endpoints: "http://:2379" has no host` + hintURL},
		{"path", endpoint("http://a:1/services"), `--endpoints: "http://a:1/services" has more than a host and a port` + "\n   hint: to change where keys are kept, use --prefix"},
		{"secret in URL", endpoint("http://root:s3cret@a:1"), `--endpoints: "http://root:xxxxx@a:1" holds a user` + "\n   hint: give the user with --user"},
		{"secret in what is no URL", endpoint("http://root:s3cret%@a:1"), `--endpoints: an endpoint is not a URL` + hintURL},
		{"certificate alone", Etcd{Endpoints: []string{"https://a:1"}, Cert: "c"}, "--cert: a certificate without its key\n   hint: add --key with the file that holds its key"},
		{"key alone", Etcd{Endpoints: []string{"https://a:1"}, Key: "k"}, "--key: a key without its certificate\n   hint: add --cert with the file that holds the certificate"},
		{"certificates for nothing", Etcd{Endpoints: one, CACert: "ca"}, "--endpoints: certificates are given, but every endpoint is plain http\n   hint: write the endpoints with https://"},
		{"password alone", Etcd{Endpoints: one, Password: "s3cret"}, "--password: a password without a user\n   hint: add --user"},
		{"user alone", Etcd{Endpoints: one, User: "root"}, "--user: the password is missing\n   hint: set ETCDCTL_PASSWORD in the environment"},
		{"user with empty password", Etcd{Endpoints: one, User: "root:"}, "--user: the password is missing\n   hint: set ETCDCTL_PASSWORD in the environment"},
		{"nobody", Etcd{Endpoints: one, User: ":s3cret"}, "--user: the name is empty\n   hint: write NAME or NAME:PASSWORD"},
		{"two passwords", Etcd{Endpoints: one, User: "root:s3cret", Password: "s3cret"}, "--user: the password is given twice\n   hint: leave it out of --user, or unset ETCDCTL_PASSWORD"},
		{"several", Etcd{Endpoints: []string{"a", "b:x"}, Cert: "c", Password: "s3cret"}, `4 mistakes:
  --endpoints: "a" is neither a URL nor host:port
     hint: write http://HOST:2379 or https://HOST:2379
  --endpoints: "b:x" is neither a URL nor host:port
     hint: write http://HOST:2379 or https://HOST:2379
  --cert: a certificate without its key
     hint: add --key with the file that holds its key
  --password: a password without a user
     hint: add --user`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			if err := tc.etcd.Validate(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(got, "s3cret") {
				t.Errorf("the message holds the password: %s", got)
			}
		})
	}
}

func TestEtcdLogin(t *testing.T) {
	for _, tc := range []struct {
		etcd           Etcd
		user, password string
	}{
		{Etcd{}, "", ""},
		{Etcd{User: "root", Password: "a:b"}, "root", "a:b"},
		{Etcd{User: "root:a:b"}, "root", "a:b"},
	} {
		if user, password := tc.etcd.Login(); user != tc.user || password != tc.password {
			t.Errorf("%+v: got %q %q, want %q %q", tc.etcd, user, password, tc.user, tc.password)
		}
	}
}

// Whatever is written as an endpoint: no panic, and one that is accepted has a host and a port.
func FuzzValidateEndpoint(f *testing.F) {
	for _, s := range []string{DefaultEndpoint, "https://[::1]:2379", "a:1", "http://u:p@h:1/x?y#z", "http://%", "://", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hint, err := validateEndpoint(s)
		if err != nil {
			if hint == "" {
				t.Errorf("%q: refused without a hint: %v", s, err)
			}
			return
		}
		if !strings.Contains(s, ":") || strings.HasSuffix(s, ":") {
			t.Errorf("%q accepted", s)
		}
	})
}
