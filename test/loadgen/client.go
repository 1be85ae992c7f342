package loadgen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// maxAnswer bounds the body that is read; a longer one is a wrong answer.
const maxAnswer = 4 << 20

// A client is one user agent with at most one kept connection.
type client struct {
	config *Config
	target *target

	conn net.Conn
	in   *bufio.Reader
	used bool // conn has carried a request before
}

// An outcome is what became of one order.
type outcome struct {
	kind     Kind
	status   int   // of the answer; 0 without one
	err      error // nil if kind is OK
	instance string
	version  string
	latency  time.Duration
	reopened bool // a kept connection was found closed before it was used
	retried  bool
}

// send carries out one order.
func (c *client) send(o order) outcome {
	if o.fresh {
		c = &client{config: c.config, target: c.target}
		defer c.close()
	}
	reopened := c.conn != nil && !c.config.Blind && !alive(c.conn)
	if reopened {
		c.close()
	}
	out := c.try(o)
	retried := o.method == http.MethodGet &&
		(c.config.Retry && out.kind == ClosedReused || c.config.RetryGateway && out.status == http.StatusBadGateway)
	if retried {
		out = c.try(o)
	}
	out.reopened, out.retried, out.latency = reopened, retried, time.Since(o.due)-o.takes
	return out
}

// try sends the order once, on the kept connection if there is one.
func (c *client) try(o order) outcome {
	deadline := time.Now().Add(c.config.Timeout)
	if c.conn == nil {
		conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", c.target.addr)
		if err != nil {
			return outcome{kind: Dial, err: err}
		}
		c.conn, c.in, c.used = conn, bufio.NewReader(conn), false
	}
	reused := c.used
	c.used = true
	out, keep := c.exchange(o, deadline, reused)
	if !keep {
		c.close()
	}
	return out
}

// exchange writes a request and reads its answer; keep says whether the connection
// may carry another.
func (c *client) exchange(o order, deadline time.Time, reused bool) (out outcome, keep bool) {
	closed := Closed
	if reused {
		closed = ClosedReused
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return outcome{kind: closed, err: err}, false
	}
	// A server may answer and close before it has read everything: the answer counts.
	_, writeErr := c.conn.Write(c.request(o))
	if _, err := c.in.Peek(1); err != nil {
		return outcome{kind: broken(err, closed), err: errors.Join(writeErr, err)}, false
	}
	resp, err := http.ReadResponse(c.in, &http.Request{Method: o.method})
	if err != nil {
		return outcome{kind: broken(err, Cut), err: err}, false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	out = outcome{status: resp.StatusCode, instance: resp.Header.Get("X-Instance"), version: resp.Header.Get("X-Version")}
	if err != nil {
		out.kind, out.err = broken(err, Cut), err
		return out, false
	}
	out.kind, out.err = judge(o, resp, body)
	return out, !resp.Close && len(body) <= maxAnswer
}

func (c *client) request(o order) []byte {
	b := make([]byte, 0, 256)
	b = append(b, o.method...)
	b = append(b, ' ')
	b = append(b, o.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.target.host...)
	b = append(b, "\r\nUser-Agent: rollcall-load\r\n"...)
	if o.fresh {
		b = append(b, "Connection: close\r\n"...)
	}
	if o.method == http.MethodPost {
		b = append(b, "Content-Type: text/plain\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(o.body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, o.body...)
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is lost: every answer has been read or given up
		c.conn = nil
	}
}

// judge says whether a whole answer is the right one.
func judge(o order, resp *http.Response, body []byte) (Kind, error) {
	switch {
	case resp.StatusCode >= 500:
		return ServerError, fmt.Errorf("status %s", resp.Status)
	case resp.StatusCode != http.StatusOK:
		return Wrong, fmt.Errorf("status %s", resp.Status)
	case len(body) > maxAnswer:
		return Wrong, fmt.Errorf("answer is longer than %d bytes", maxAnswer)
	case o.method == http.MethodPost && !bytes.Equal(body, o.body):
		return Wrong, fmt.Errorf("sent %q, got %.80q back", o.body, body)
	}
	return OK, nil
}

// broken tells a timeout from what else ends a connection.
func broken(err error, otherwise Kind) Kind {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Timeout
	}
	return otherwise
}

// alive looks, without waiting, whether the other side has closed an idle
// connection or written to it unasked.
func alive(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && quiet
}
