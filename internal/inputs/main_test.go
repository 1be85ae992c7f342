package inputs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a condition may take on a busy machine before a test gives up.
const patience = 30 * time.Second

// certificate is a template for one of a host, valid now.
func certificate(host string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// selfSigned makes a pair of a template and its key, signed by itself.
func selfSigned(t testing.TB, c *x509.Certificate, key crypto.Signer) (chain, private []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pair makes a good pair for a host.
func pair(t testing.TB, host string) (chain, private []byte) {
	t.Helper()
	return selfSigned(t, certificate(host), newKey(t))
}

// write writes files, by path below dir.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func newFiles(change func(*Config)) *Files {
	cfg := Config{Proxy: "nginx", Logger: slog.New(slog.DiscardHandler)}
	change(&cfg)
	return New(cfg)
}

func load(t *testing.T, f *Files) *Set {
	t.Helper()
	s, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names lists what there are pairs for.
func (s *Set) names() []string {
	var names []string
	for _, p := range s.Pairs {
		names = append(names, p.Name)
	}
	return names
}

func join(parts ...[]byte) string { return string(bytes.Join(parts, nil)) }
