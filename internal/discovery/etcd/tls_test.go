package etcd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"
)

// An authority issues certificates into a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", time.Hour)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// issue writes NAME.pem and NAME-key.pem; valid from an hour ago for so long from now on.
func (a *authority) issue(name string, valid time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name, "CERTIFICATE", der)
	a.write(name+"-key", "EC PRIVATE KEY", keyDER)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// config is a client's with the certificate of that name.
func (a *authority) config(endpoint, name string) Config {
	return Config{Endpoints: []string{endpoint}, CACert: a.file("ca"), Cert: a.file(name), Key: a.file(name + "-key")}
}

// serve starts a server that speaks TLS and wants to see a client's certificate.
func (a *authority) serve(dir, endpoint string) *Server {
	a.t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		a.t.Fatal(err)
	}
	cfg, err := serverConfig(dir, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	cfg.ClientTLSInfo = transport.TLSInfo{
		CertFile: a.file("server"), KeyFile: a.file("server-key"), TrustedCAFile: a.file("ca"), ClientCertAuth: true,
	}
	s, err := startServer(testContext(a.t), cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	// Handshakes that are to fail would be reported on standard error.
	s.level.SetLevel(zap.FatalLevel)
	return s
}

func TestTLSWithClientCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("server", time.Hour)
	a.issue("client", time.Hour)
	dir, endpoint := t.TempDir(), fmt.Sprintf("https://127.0.0.1:%d", ports.Free(t))
	s := a.serve(dir, endpoint)
	defer func() { s.Close() }()
	c, err := Open(testContext(t), a.config(endpoint, "client"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	put(t, c, "/services/web/a", "10.0.0.5:80")
	w := watch(t, c, "/services")
	w.sees(t, "web/a=10.0.0.5:80")

	// The certificate runs out, while the connection made with it lasts.
	a.issue("client", -time.Minute)
	put(t, c, "/services/web/a", "10.0.0.5:81")
	w.sees(t, "web/a=10.0.0.5:81")
	// A new connection does not come about with it,
	s.Close()
	s = a.serve(dir, endpoint)
	eventually(t, "the old certificate is refused", func() bool { return w.Healthy() != nil })
	// but does with the one that replaces it, without a restart.
	a.issue("client", time.Hour)
	eventually(t, "the new certificate is taken", func() bool { return w.Healthy() == nil })
	put(t, c, "/services/web/a", "10.0.0.5:82")
	w.sees(t, "web/a=10.0.0.5:82")
}

func TestTLSFilesAreReadAtTheStart(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.issue("client", time.Hour)
	a.issue("other", time.Hour)
	if err := os.WriteFile(a.file("empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := a.config("https://127.0.0.1:1", "client")
	for name, spoil := range map[string]func(*Config){
		"":                          func(*Config) {},
		"no CA file":                func(c *Config) { c.CACert = a.file("none") },
		"CA file without a PEM":     func(c *Config) { c.CACert = a.file("empty") },
		"no certificate":            func(c *Config) { c.Cert = a.file("none") },
		"certificate without a PEM": func(c *Config) { c.Cert = a.file("empty") },
		"certificate without key":   func(c *Config) { c.Key = "" },
		"key without certificate":   func(c *Config) { c.Cert = "" },
		"key of another":            func(c *Config) { c.Key = a.file("other-key") },
	} {
		cfg := good
		spoil(&cfg)
		c, err := Open(testContext(t), cfg, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = c.Close()
		}
		switch {
		case name == "" && err != nil:
			t.Errorf("good files: %v", err)
		case name != "" && (err == nil || !strings.HasPrefix(err.Error(), "etcd certificates: ")):
			t.Errorf("%s: %v, want an error of the certificates", name, err)
		}
	}
}
