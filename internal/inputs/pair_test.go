package inputs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestServersAgree gives certificates of all kinds to real servers: what is refused here,
// they refuse, and what is not, they take.
func TestServersAgree(t *testing.T) {
	rsaKey := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	curve := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, strong := rsaKey(1024), rsaKey(2048)
	expired := certificate("www.example")
	expired.NotAfter = expired.NotBefore.Add(time.Second)
	sha1 := certificate("www.example")
	sha1.SignatureAlgorithm = x509.SHA1WithRSA
	issued := func(leaf *x509.Certificate, key, issuer crypto.Signer) (chain, private []byte) {
		ca := certificate("issuer")
		ca.IsCA, ca.BasicConstraintsValid = true, true
		caPEM, _ := selfSigned(t, ca, issuer)
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), issuer)
		if err != nil {
			t.Fatal(err)
		}
		_, private = selfSigned(t, certificate("www.example"), key)
		return append(block("CERTIFICATE", der), caPEM...), private
	}
	type pem struct{ chain, key []byte }
	self := func(c *x509.Certificate, key crypto.Signer) pem {
		chain, private := selfSigned(t, c, key)
		return pem{chain, private}
	}
	chained := func(leaf *x509.Certificate, key, issuer crypto.Signer) pem {
		chain, private := issued(leaf, key, issuer)
		return pem{chain, private}
	}
	plain := certificate("www.example")
	for _, tc := range []struct {
		name string
		pem  pem
		good bool
	}{
		{"RSA 1024", self(plain, weak), false},
		{"RSA 1960", self(plain, rsaKey(1960)), false},
		{"RSA 1984", self(plain, rsaKey(minRSA)), true},
		{"RSA 2048", self(plain, strong), true},
		{"P-224", self(plain, curve(elliptic.P224())), true},
		{"P-256", self(plain, curve(elliptic.P256())), true},
		{"P-521", self(plain, curve(elliptic.P521())), true},
		{"Ed25519", self(plain, edwards), true},
		{"expired", self(expired, strong), true},
		{"SHA-1 by itself", self(sha1, strong), true},
		{"SHA-1 by an issuer", chained(sha1, strong, strong), false},
		{"a weak issuer", chained(plain, strong, weak), false},
		{"a good issuer", chained(plain, strong, strong), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := checkPair(tc.pem.chain, tc.pem.key)
			if (err == nil) != tc.good {
				t.Errorf("checked: %v, want good %v", err, tc.good)
			}
			if err != nil {
				p.pem = append(tc.pem.chain, tc.pem.key...)
			}
			for server, said := range judged(t, p.pem) {
				if (said == nil) != tc.good {
					t.Errorf("%s: %v, want good %v", server, said, tc.good)
				}
			}
		})
	}
}

// judged gives what the servers' own checks say of a pair.
func judged(t *testing.T, pair []byte) map[string]error {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"pair.pem": string(pair),
		"nginx.conf": fmt.Sprintf("pid %[1]s/pid; error_log stderr; events {} http { access_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b;"+
			" fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;"+
			" server { listen unix:%[1]s/s ssl; ssl_certificate %[1]s/pair.pem; ssl_certificate_key %[1]s/pair.pem; } }\n", dir),
		"haproxy.cfg": fmt.Sprintf("defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nfrontend f\n  bind unix@%[1]s/h ssl crt %[1]s/pair.pem\n", dir),
	})
	said := map[string]error{}
	for _, command := range [][]string{{"nginx", "-t", "-q", "-c", filepath.Join(dir, "nginx.conf")}, {"haproxy", "-c", "-f", filepath.Join(dir, "haproxy.cfg")}} {
		path, err := exec.LookPath(command[0])
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		out, err := exec.CommandContext(ctx, path, command[1:]...).CombinedOutput()
		cancel()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		said[command[0]] = err
	}
	return said
}

// TestOrder tells an operator who has the issuer first what to do.
func TestOrder(t *testing.T) {
	chain, key := pair(t, "www.example")
	issuer, _ := pair(t, "issuer")
	_, err := checkPair(append(issuer, chain...), key)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(`"CN=www.example" must come first`)) {
		t.Errorf("got %v", err)
	}
}

// FuzzPair has whatever is accepted be a pair, in a form in which nothing else stands.
func FuzzPair(f *testing.F) {
	chain, key := pair(f, "www.example")
	f.Add(chain, key)
	f.Add(append([]byte("Bag Attributes\n"), chain...), append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), key...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		p, err := checkPair(chain, key)
		if err != nil {
			return
		}
		if _, err := tls.X509KeyPair(p.pem, p.pem); err != nil {
			t.Errorf("accepted, but: %v\n%s", err, p.pem)
		}
		again, err := checkPair(p.pem, p.pem)
		if err != nil || !bytes.Equal(again.pem, p.pem) {
			t.Errorf("not the same again: %v\n%s\n%s", err, p.pem, again.pem)
		}
		p.warnings("www.example", time.Now())
	})
}
