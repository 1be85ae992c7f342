package templates

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rollcall/test/ports"
)

// certify makes a certificate for a host name, or for "" one for default.test, in a file of its own.
func certify(t *testing.T, name string, serial int64) Certificate {
	t.Helper()
	subject := name
	if name == "" {
		subject = "default.test"
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: subject}, DNSNames: []string{subject},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(runDir(t), "pair.pem")
	write(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return Certificate{Name: name, File: file}
}

// placeCertificates puts the certificates of a balancer made for /run/rollcall into dir.
func placeCertificates(t *testing.T, b Balancer, dir string) {
	t.Helper()
	placed := func(file string) string { return strings.Replace(file, "/run/rollcall", dir, 1) }
	for i, c := range b.Certificates {
		pair, err := os.ReadFile(certify(t, c.Name, 1).File)
		if err != nil {
			t.Fatal(err)
		}
		b.Certificates[i].File = placed(c.File)
		write(t, b.Certificates[i].File, string(pair))
	}
	if b.CertificateList != "" {
		write(t, placed(b.CertificateList), string(CertificateList(b.Certificates)))
	}
}

// secure gives a client of a server's TLS address that names one host when it greets.
func secure(address, serverName string, http2 bool) *http.Client {
	config := &tls.Config{ServerName: serverName, InsecureSkipVerify: true} // the test looks itself who answers
	if serverName == "" {
		config.ServerName = "127.0.0.1" // crypto/tls leaves addresses out of its greeting
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: config, ForceAttemptHTTP2: http2, DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
}

// ask gives the answer to a GET; nil if the handshake fails.
func ask(t *testing.T, client *http.Client, url, host string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		if !strings.Contains(err.Error(), "tls: ") && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v, want an answer or an alert", host, err)
		}
		return nil
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

// secured is a balancer of three services and a default one.
func secured(t *testing.T, proxy string, certificates ...Certificate) Balancer {
	b := Balancer{
		Proxy: proxy, Standalone: true, ListenTLS: []string{ports.Address(t)}, Certificates: certificates, Settings: DefaultSettings(),
		Upstreams: []Upstream{upstream("fallback", backend(t, "fallback")), upstream("shop", backend(t, "shop")), upstream("web", backend(t, "web"))},
		Hosts: []VirtualHost{
			{Name: "a.shop.example", Routes: []Route{{"", "web"}}},
			{Name: "plain.test", Routes: []Route{{"", "web"}}},
			{Name: "shop.example", Routes: []Route{{"", "shop"}}},
			{Name: "www.example", Routes: []Route{{"", "web"}}},
		},
		Default: VirtualHost{Routes: []Route{{"", "fallback"}}},
	}
	return b
}

func TestTLS(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			b := secured(t, proxy, certify(t, "*.example", 1), certify(t, "other.test", 2), certify(t, "www.example", 3))
			r := start(t, b)
			address := b.ListenTLS[0]
			for _, tc := range []struct{ name, host, certificate, backend string }{
				{"www.example", "www.example", "www.example", "web"},
				{"WWW.Example", "www.example:8443", "www.example", "web"},
				{"shop.example", "shop.example", "*.example", "shop"},
				{"unknown.example", "unknown.example", "*.example", "fallback"},
				{"other.test", "other.test", "other.test", "fallback"},
				{"plain.test", "plain.test", "", ""},
				{"two.labels.example", "two.labels.example", "", ""},
				{"nobody.test", "nobody.test", "", ""},
				{"", "www.example", "", ""},
			} {
				if proxy == "apache" && tc.name == "two.labels.example" {
					continue // it has no pattern for one label; the client will not accept the certificate
				}
				for _, http2 := range []bool{false, true} {
					resp := ask(t, secure(address, tc.name, http2), "https://"+tc.host+"/a%2Fb?c", tc.host)
					if resp == nil {
						if tc.certificate != "" {
							t.Errorf("%s: the handshake fails, want the certificate of %s", tc.name, tc.certificate)
						}
						continue
					}
					got := [...]any{resp.TLS.PeerCertificates[0].Subject.CommonName, resp.Header.Get("X-Backend"), resp.ProtoMajor == 2, resp.Header.Get("X-Uri")}
					if want := [...]any{tc.certificate, tc.backend, http2, "/a%2Fb?c"}; got != want {
						t.Errorf("%s: got %v, %s, want %v", tc.name, got, resp.Status, want)
					}
					forwarded := resp.Header.Get("Got-X-Forwarded-Proto") + "://" + resp.Header.Get("Got-X-Forwarded-Host") + " to " + resp.Header.Get("X-Host")
					if want := "https://" + tc.host + " to " + tc.host; forwarded != want {
						t.Errorf("%s: the server behind was told %q, want %q", tc.name, forwarded, want)
					}
				}
			}
			// Who greets one host and then asks for another that has no certificate.
			for _, http2 := range []bool{false, true} {
				if resp := ask(t, secure(address, "www.example", http2), "https://www.example/", "plain.test"); resp == nil || resp.StatusCode != http.StatusMisdirectedRequest {
					t.Errorf("plain.test behind www.example: got %v, want 421", resp)
				}
			}
			for _, host := range []string{"www.example", "plain.test", "a.shop.example"} {
				if resp, _ := r.send(t, "GET", host, "/", ""); resp.Header.Get("X-Backend") != "web" || resp.Header.Get("Got-X-Forwarded-Proto") != "http" {
					t.Errorf("%s without TLS: got %s from %q", host, resp.Status, resp.Header.Get("X-Backend"))
				}
			}
			testOldTLS(t, address)
			testSecureWebSocket(t, address)
		})
	}
}

func testOldTLS(t *testing.T, address string) {
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: "www.example", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func testSecureWebSocket(t *testing.T, address string) {
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: "www.example", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /ws HTTP/1.1\r\nHost: www.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nhello")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v, want 101", resp, err)
	}
	echo := make([]byte, 5)
	if _, err := io.ReadFull(in, echo); err != nil || string(echo) != "hello" {
		t.Errorf("got %q, %v, want what was sent", echo, err)
	}
}

// TestTLSDefault has a certificate for every name that has none of its own, and no HTTP/2.
func TestTLSDefault(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			b := secured(t, proxy, certify(t, "", 1), certify(t, "www.example", 2))
			b.Settings.HTTP2 = false
			start(t, b)
			for _, tc := range []struct{ name, certificate, backend string }{
				{"www.example", "www.example", "web"},
				{"shop.example", "default.test", "shop"},
				{"nobody.test", "default.test", "fallback"},
				{"", "default.test", "fallback"},
			} {
				resp := ask(t, secure(b.ListenTLS[0], tc.name, true), "https://any.test/", tc.name)
				if resp == nil {
					t.Errorf("%s: the handshake fails", tc.name)
					continue
				}
				got := [...]any{resp.TLS.PeerCertificates[0].Subject.CommonName, resp.Header.Get("X-Backend"), resp.ProtoMajor}
				if want := [...]any{tc.certificate, tc.backend, 1}; got != want {
					t.Errorf("%s: got %v, want %v", tc.name, got, want)
				}
			}
		})
	}
}

// TestRedirect sends clients to TLS where there is a certificate, with the method,
// the path and the query that they wrote.
func TestRedirect(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			b := secured(t, proxy, certify(t, "*.example", 1))
			b.Settings.Redirect = true
			r := start(t, b)
			_, port, _ := net.SplitHostPort(b.ListenTLS[0])
			for _, tc := range []struct{ host, path, want string }{
				{"www.example", "/", "https://www.example:" + port + "/"},
				{"www.example:80", "/a%2Fb%20%C3%A4//c?d=%3f&e=?", "https://www.example:" + port + "/a%2Fb%20%C3%A4//c?d=%3f&e=?"},
				{"unknown.example", "/x%3Fy?z", "https://unknown.example:" + port + "/x%3Fy?z"},
				{"plain.test", "/", ""},
				{"a.shop.example", "/", ""},
				{"two.labels.example", "/", ""},
				{"nobody.test", "/", ""},
			} {
				if proxy == "apache" && tc.host == "two.labels.example" {
					continue // see TestTLS
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.address+tc.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = tc.host
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				status := http.StatusPermanentRedirect
				if tc.want == "" {
					status = http.StatusOK
				}
				if got := resp.Header.Get("Location"); resp.StatusCode != status || got != tc.want {
					t.Errorf("%s%s: got %s to %q, want %d to %q", tc.host, tc.path, resp.Status, got, status, tc.want)
				}
			}
			if resp := ask(t, secure(b.ListenTLS[0], "www.example", true), "https://www.example/", "www.example"); resp == nil || resp.Header.Get("X-Backend") != "web" {
				t.Errorf("with TLS: got %v, want the service", resp)
			}

			b.Certificates = []Certificate{certify(t, "", 2)}
			r.reload(t, b)
			for _, host := range []string{"www.example", "plain.test", "nobody.test"} {
				client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
				if resp := ask(t, &client, "http://"+r.address+"/", host); resp == nil || resp.Header.Get("Location") != "https://"+host+":"+port+"/" {
					t.Errorf("%s, with a certificate for every name: got %v, want a redirect", host, resp)
				}
			}
		})
	}
}

// TestCertificateChange serves a new certificate after a reload, which there is
// because its file has another name.
func TestCertificateChange(t *testing.T) {
	for _, proxy := range proxies {
		t.Run(proxy, func(t *testing.T) {
			b := secured(t, proxy, certify(t, "www.example", 1))
			r := start(t, b)
			before := r.generation
			b.Certificates = []Certificate{certify(t, "www.example", 2)}
			r.reload(t, b)
			resp := ask(t, secure(b.ListenTLS[0], "www.example", true), "https://www.example/", "www.example")
			if resp == nil || resp.TLS.PeerCertificates[0].SerialNumber.Int64() != 2 {
				t.Errorf("got %v, want the second certificate", resp)
			}
			if r.generation == before {
				t.Errorf("both are generation %s", before)
			}
		})
	}
}
