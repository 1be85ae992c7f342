package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"rollcall/test/ports"
)

// pair makes a certificate for a host, signed by itself, and its key, as PEM.
func pair(t *testing.T, host string, serial int64) (certificate, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// secure sends a request with TLS and gives the serial number of the certificate, who
// answered, and by which protocol.
func secure(address, host string) (serial int64, instance, protocol string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/", nil)
	if err != nil {
		return 0, "", "", err
	}
	req.Host = host
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}, // the serial number is what is looked at
	}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		return 0, "", "", errors.Join(err, fmt.Errorf("%s: %s", res.Status, body))
	}
	return res.TLS.PeerCertificates[0].SerialNumber.Int64(), res.Header.Get("X-Instance"), res.Proto, nil
}

// A certificate that is put into the directory is served, a newer one too; one whose key
// does not match is refused, and what was good stays.
func TestCertificates(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		put(t, endpoint, "/services/web/a", serveName(t, "a"))
		dir, address := t.TempDir(), local(ports.Free(t))
		const host = "www.example.com"
		install := func(name string, serial int64, matching bool) {
			t.Helper()
			certificate, key := pair(t, name, serial)
			if !matching {
				_, key = pair(t, name, serial)
			}
			replace(t, filepath.Join(dir, name+".crt"), certificate)
			replace(t, filepath.Join(dir, name+".key"), key)
		}
		serves := func(name string, serial int64) func() error {
			return func() error {
				got, instance, protocol, err := secure(address, name)
				if err != nil || got != serial || instance != "a" || protocol != "HTTP/2.0" {
					return fmt.Errorf("certificate %d from %q by %s: %w", got, instance, protocol, err)
				}
				return nil
			}
		}
		b := startRender(t, proxy, endpoint, "--service", "web", "--certs", dir, "--listen-tls", address)
		if err := evenly(b.url, "a"); err != nil {
			t.Errorf("without any certificate: %v", err)
		}
		install(host, 1, true)
		eventually(t, "the first certificate is served", serves(host, 1))
		install(host, 2, true)
		eventually(t, "a newer one is served", serves(host, 2))
		install(host, 3, false)
		b.says(t, filepath.Join(dir, host))
		if err := errors.Join(serves(host, 2)(), evenly(b.url, "a")); err != nil {
			t.Errorf("with a key that does not match: %v", err)
		}
		install("shop.example.com", 4, true)
		eventually(t, "another host's is served beside the bad one", serves("shop.example.com", 4))
		if err := serves(host, 2)(); err != nil {
			t.Errorf("with a key that does not match, later: %v", err)
		}
	})
}
