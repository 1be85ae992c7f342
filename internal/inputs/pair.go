package inputs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Pair is a certificate that a server can serve.
type Pair struct {
	Name string // "www.example.com"; "*.example.com"; "" for every name without one of its own
	PEM  []byte // the chain, the server's certificate first, then its key
}

// checked is a pair that was found to be good.
type checked struct {
	pem  []byte
	leaf *x509.Certificate
	sum  [sha256.Size]byte // of the files it was read from
}

// keyError is an error that is the key's alone.
type keyError struct{ error }

// minRSA is the shortest RSA key, in bits, that OpenSSL takes at its usual security level,
// 2: those whose strength it rounds to 112 bits. Measured with OpenSSL 3.0.
const minRSA = 1984

// maxChain bounds a chain; a root and two intermediates are usual.
const maxChain = 20

// checkPair reads a chain and its key. A server refuses its whole configuration for one
// pair that OpenSSL does not take, so everything that OpenSSL minds is looked at here.
func checkPair(chain, key []byte) (checked, error) {
	certificates, err := parseChain(chain)
	if err != nil {
		return checked{}, err
	}
	keyPEM, err := findKey(key)
	if err != nil {
		return checked{}, &keyError{err}
	}
	var out []byte
	for _, c := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if _, err := tls.X509KeyPair(out, keyPEM); err != nil {
		for _, c := range certificates[1:] {
			own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
			if _, err := tls.X509KeyPair(own, keyPEM); err == nil {
				return checked{}, fmt.Errorf("the certificate of %q must come first, before those of its issuers", c.Subject)
			}
		}
		return checked{}, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	return checked{pem: append(out, keyPEM...), leaf: certificates[0]}, nil
}

// parseChain gives the certificates of a PEM file, which may hold other things besides.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(chain) == maxChain {
			return nil, fmt.Errorf("holds more than %d certificates", maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		if err := acceptable(c); err != nil {
			return nil, fmt.Errorf("certificate %d, of %q: %w", len(chain)+1, c.Subject, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("holds no certificate in PEM form")
	}
	return chain, nil
}

// acceptable says why OpenSSL refuses a certificate anywhere in a chain, at its usual
// security level: short keys, and signatures with a broken hash. Nobody checks how one
// that has signed itself is signed.
func acceptable(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA {
			return fmt.Errorf("servers refuse an RSA key of %d bits; 2048 is usual", bits)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return errors.New("servers and clients know RSA, ECDSA and Ed25519 keys; this is another kind")
	}
	broken := []x509.SignatureAlgorithm{x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1}
	if slices.Contains(broken, c.SignatureAlgorithm) && !bytes.Equal(c.RawIssuer, c.RawSubject) {
		return fmt.Errorf("servers refuse a signature with %s", c.SignatureAlgorithm)
	}
	return nil
}

// findKey gives the first private key of a PEM file, as PEM.
func findKey(text []byte) ([]byte, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the key is encrypted; nobody is there to type its password: openssl pkey -in OLD -out NEW takes it off")
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}), nil
	}
	return nil, errors.New("holds no private key in PEM form")
}

// warnings says what clients will mind about a certificate that servers serve all the same.
func (c checked) warnings(name string, now time.Time) []string {
	var list []string
	if now.After(c.leaf.NotAfter) {
		list = append(list, "expired at "+c.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if now.Before(c.leaf.NotBefore) {
		list = append(list, "is not valid before "+c.leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if name != "" && c.leaf.VerifyHostname(name) != nil {
		names := c.leaf.DNSNames
		if len(names) > 3 {
			names = append(slices.Clone(names[:3]), "…")
		}
		list = append(list, fmt.Sprintf("does not cover %s; it covers %q", name, names))
	}
	return list
}
