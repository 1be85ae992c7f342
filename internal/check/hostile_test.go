package check

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
	"unicode"
)

// checkText holds the reason of a failure to what a log and a terminal need.
func checkText(t *testing.T, text string) {
	t.Helper()
	if text == "" || len(text) > textLimit+len("…") || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q is no line for a log", text)
	}
}

// endless says one thing again and again, until the other side has had enough.
func endless(first, again string) func(net.Conn) {
	return func(conn net.Conn) {
		text := first
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
			text = again
		}
	}
}

// drip says one thing slowly, without an end.
func drip(first, again string) func(net.Conn) {
	return func(conn net.Conn) {
		text := first
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
			text = again
			time.Sleep(time.Millisecond)
		}
	}
}

// says reads a request, answers it with a text and closes.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		buf := make([]byte, 4096)
		if _, err := conn.Read(buf); err == nil {
			_, _ = io.WriteString(conn, text)
		}
	}
}

func TestProbeOfHostileServers(t *testing.T) {
	t.Parallel()
	const (
		ok      = "HTTP/1.1 200 OK\r\n"
		tooLong = "answered with a header longer than 64 KiB"
		noHTTP  = "answered something that is not HTTP/1.1"
		cut     = "connection closed before the answer's end"
	)
	for _, test := range []struct {
		name   string
		handle func(net.Conn)
		want   string
	}{
		{"endless header", endless(ok, "X-Header: "+strings.Repeat("x", 1000)+"\r\n"), tooLong},
		{"endless header line", endless(ok+"X-Header: ", "xxxxxxxx"), tooLong},
		{"endless status line", endless("HTTP/1.1 200 ", "OK "), tooLong},
		{"endless first line", endless("", "x"), tooLong},
		{"endless zeros", endless("", "\x00\x00\x00\x00"), tooLong},
		{"endless continue", endless("", "HTTP/1.1 100 Continue\r\n\r\n"), tooLong},
		{"endless body", endless(ok+"\r\n", "xxxxxxxx"), ""},
		{"endless body in chunks", endless(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"), ""},
		{"endless body of a failure", endless("HTTP/1.1 500 No\r\n\r\n", "xxxxxxxx"), "answered 500 Internal Server Error"},
		{"body shorter than promised", says(ok + "Content-Length: 10\r\n\r\nx"), ""},
		{"broken chunks", says(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), ""},
		{"hints first", says("HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" + ok + "\r\n"), ""},
		{"hints only", says("HTTP/1.1 103 Early Hints\r\n\r\n"), cut},
		{"another protocol", says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), "answered 101 Switching Protocols"},
		{"HTTP/1.0", says("HTTP/1.0 200 OK\r\n\r\n"), ""},
		{"status below all", says("HTTP/1.1 042 Mu\r\n\r\nHTTP/1.1 007 \r\n\r\n"), cut},
		{"reason of its own", says("HTTP/1.1 503 \x1b[2J\x07all is well\r\n\r\n"), "answered 503 Service Unavailable"},
		{"no reason", says("HTTP/1.1 404\r\n\r\n"), "answered 404 Not Found"},
		{"terminal codes", says("\x1b[2J\x1b]0;pwned\x07\r\n\r\n"), noHTTP},
		{"header that is none", says(ok + "\x1b[2J\xff\r\n\r\n"), noHTTP},
		{"length that is none", says(ok + "Content-Length: -1\r\n\r\n"), noHTTP},
		{"encoding that is none", says(ok + "Transfer-Encoding: \x1b[2J\r\n\r\n"), noHTTP},
		{"random bytes", says("\x8f\x02\x1c\r\xe4\n\x00\x7f\xb1\n\n"), noHTTP},
		{"another protocol's greeting", says("220 mail.example ESMTP\r\n"), noHTTP},
		{"nothing", says(""), cut},
		{"half a header", says(ok + "X-Hea"), cut},
		{"half a status", says("HTTP/1."), cut},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := result(t, at("http", "/", listen(t, test.handle)))
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got != "" {
				checkText(t, got)
			}
		})
	}
}

func TestProbeOfSlowServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, scheme string
		handle       func(net.Conn)
	}{
		{"header drips", "http", drip("HTTP/1.1 200 OK\r\n", "X: y\r\n")},
		{"status drips", "http", drip("HTTP/1.1 ", " ")},
		{"continue drips", "http", drip("", "HTTP/1.1 100 Continue\r\n\r\n")},
		{"handshake drips", "https", drip("\x16\x03\x03\x40\x00", "\x00")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			target := at(test.scheme, "/", listen(t, test.handle))
			target.Spec.Timeout = 200 * time.Millisecond
			if got := result(t, target); got != "no answer within 200ms" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// With the status the result is known: a body that does not end in time, as that of
// a stream of events, changes nothing.
func TestSlowBodyIsNoFailure(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"HTTP/1.1 200 OK\r\n\r\ndata":                            "<nil>",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ndata":      "<nil>",
		"HTTP/1.1 502 Bad Gateway\r\n\r\ndata":                   "answered 502 Bad Gateway",
		"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n": os.ErrDeadlineExceeded.Error(),
	} {
		req, err := request(at("http", "/", "127.0.0.1:80"))
		if err != nil {
			t.Fatal(err)
		}
		got := read(io.MultiReader(strings.NewReader(answer), iotest.ErrReader(os.ErrDeadlineExceeded)), req)
		if fmt.Sprint(got) != want {
			t.Errorf("%q: got %v, want %s", answer, got, want)
		}
	}
}

func TestProbeOfBrokenConnections(t *testing.T) {
	t.Parallel()
	reset := func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0) // a close that resets
	}
	if got := result(t, at("http", "/", listen(t, reset))); got != "connection reset by peer" {
		t.Errorf("http: got %q", got)
	}
	if got := result(t, at("https", "/", listen(t, reset))); got != "connection reset by peer" {
		t.Errorf("https: got %q", got)
	}
	if got := result(t, at("https", "/", listen(t, says("")))); got != "connection closed before the answer's end" {
		t.Errorf("https, closed during the handshake: got %q", got)
	}
}

func TestProbeReadsTheBody(t *testing.T) {
	t.Parallel()
	end := make(chan error, 1)
	addr := listen(t, func(conn net.Conn) {
		says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 30000\r\n\r\n" + strings.Repeat("x", 30000))(conn)
		_, err := conn.Read(make([]byte, 1))
		end <- err
	})
	if got := result(t, at("http", "/", addr)); got != "" {
		t.Fatal(got)
	}
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Errorf("the server sees its connection end with %v, want EOF", err)
	}
}

func TestBrief(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "no route to host"},
		{fmt.Errorf("read: %w", io.EOF), "connection closed before the answer's end"},
		{errors.New("\x1b[2J\r\nü\u202e\xff"), "?[2J?????"},
		{errors.New(strings.Repeat("x", 1000)), strings.Repeat("x", 120) + "…"},
	} {
		got := brief(test.err).Error()
		if got != test.want {
			t.Errorf("%q: got %q, want %q", test.err, got, test.want)
		}
		checkText(t, got)
	}
	if err := brief(fmt.Errorf("dial: %w", syscall.EMFILE)); !isLocal(err) {
		t.Errorf("%v is no longer known for this machine's own", err)
	}
}

func TestProbeOfHostileHandshakes(t *testing.T) {
	t.Parallel()
	model := httptest.NewTLSServer(nil)
	t.Cleanup(model.Close)
	for name, config := range map[string]*tls.Config{
		"certificate that is none": {Certificates: []tls.Certificate{{
			Certificate: [][]byte{[]byte("\x30\x1b[2J\r\n")}, PrivateKey: model.TLS.Certificates[0].PrivateKey,
		}}},
		"no protocol in common": {Certificates: model.TLS.Certificates, NextProtos: []string{"x"}},
		"refuses everybody": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, io.ErrUnexpectedEOF
		}},
	} {
		addr := listen(t, func(conn net.Conn) {
			_ = tls.Server(conn, config).Handshake()
			silence(conn)
		})
		got := result(t, at("https", "/", addr))
		checkText(t, got)
		if !strings.Contains(got, "tls: ") {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// FuzzAnswer reads whatever a server may say.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 503 \x1b[2J\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 100 \r\n\r\nHTTP/1.1 304 \r\n\r\n", "HTTP/1.1 099", "HTTP/9.9 +99 \r\n\r\n",
		"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X\n\n1\nx\n0\nX: y\n\n", "HTTP/1.1 200\r\n\x1b: \xff\r\n\r\n", "", "\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		req, err := request(at("http", "/", "127.0.0.1:80"))
		if err != nil {
			t.Fatal(err)
		}
		err = read(bytes.NewReader(answer), req)
		if err == nil && !bytes.HasPrefix(answer, []byte("HTTP/")) {
			t.Errorf("%q is a success", answer)
		}
		if err != nil {
			checkText(t, brief(err).Error())
		}
	})
}
