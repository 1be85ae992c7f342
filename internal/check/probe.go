package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// answerLimit is how much of an answer is read, header and body together. What is
	// left of a longer one is not waited for.
	answerLimit = 64 << 10
	// textLimit bounds what is said of a failure; a line of a log has room for it.
	textLimit = 120

	userAgent = "rollcall-announce"
)

// Probe asks a target once, and gives nil when it is up and the reason, one short
// printable line, when it is not. A tcp check is content with a connection, whoever
// accepts it: where a port is published by a proxy in user space, that is the proxy. A
// http or https check asks by GET and is content with a status from 200 to 399; it
// follows no redirect. When ctx is done before an answer has come, Probe gives ctx's
// error.
func Probe(ctx context.Context, t Target) error {
	own, cancel := context.WithTimeout(ctx, t.Spec.Timeout)
	defer cancel()
	err := ask(own, t)
	var late net.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("no answer within %s", t.Spec.Timeout)
	}
	return brief(err)
}

// ask uses a connection of its own that lives no longer than ctx. It is dialled here,
// not by an http.Transport: that one obeys the environment's proxies, keeps
// connections, and goes on dialling when nobody waits any more.
func ask(ctx context.Context, t Target) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", t.Addr.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if t.Spec.Scheme == "tcp" {
		return nil
	}
	past := time.Unix(1, 0)
	raw := conn
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(past) })
	defer stop()
	if t.Spec.Scheme == "https" {
		// No certificate names the endpoint, an address and a port chosen at the
		// container's start. Nothing secret is sent, and nothing believed but a status.
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	req, err := request(t)
	if err != nil {
		return err
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	return read(conn, req)
}

// request is what a target is asked, in HTTP/1.1.
func request(t Target) (*http.Request, error) {
	u, err := url.ParseRequestURI(t.Spec.Path)
	if err != nil {
		return nil, err
	}
	return &http.Request{
		Method: http.MethodGet, URL: u, Host: t.Addr.String(), Close: true,
		Header: http.Header{"User-Agent": {userAgent}, "Accept": {"*/*"}},
	}, nil
}

// An answer is what is read from a connection, up to its limit. It remembers how that
// ended: the parser takes a line that was cut short for one that is wrong.
type answer struct {
	io.LimitedReader
	err error
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.LimitedReader.Read(p)
	if err != nil {
		a.err = err
	}
	return n, err
}

// read makes a result of an answer.
func read(r io.Reader, req *http.Request) error {
	all := &answer{LimitedReader: io.LimitedReader{R: r, N: answerLimit}}
	buffered := bufio.NewReader(all)
	status := http.StatusContinue
	// What is said on the way to an answer is none; only 101 would be the last word.
	for status < http.StatusOK && status != http.StatusSwitchingProtocols {
		res, err := http.ReadResponse(buffered, req)
		switch {
		case err == nil:
		case all.N == 0:
			return fmt.Errorf("answered with a header longer than %d KiB", answerLimit>>10)
		case all.err != nil:
			return all.err
		default:
			// The parser's own words would repeat the server's.
			return errors.New("answered something that is not HTTP/1.1")
		}
		// To close a connection with bytes unread resets it, of which servers complain.
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		status = res.StatusCode
	}
	if status < http.StatusOK || status >= http.StatusBadRequest {
		// The server's own reason may be anything.
		return errors.New(strings.TrimSpace(fmt.Sprintf("answered %03d %s", status, http.StatusText(status))))
	}
	return nil
}

// brief gives the heart of an error: "connection refused". Who reads it knows the
// endpoint, and a server may have put anything into the rest.
func brief(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("connection closed before the answer's end")
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, err.Error())
	if len(text) > textLimit {
		text = text[:textLimit] + "…"
	}
	return errors.New(text)
}
