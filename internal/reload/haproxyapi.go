package reload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// A runtimeAPI is a connection to the runtime API of one HAProxy worker, in its
// interactive mode: there each answer ends with a prompt, where otherwise some end with
// one line feed and some with two. It stays with the worker that took it.
type runtimeAPI struct {
	conn net.Conn
	path string
	pid  int // what the worker takes for its own
	rest []byte
}

const (
	apiPrompt  = "\n> "
	apiTimeout = 2 * time.Second // for one exchange
	apiMost    = 256 << 20       // bytes of an answer
	apiBatch   = 96              // commands of an exchange: they fit into the socket's buffer
)

// dialAPI connects to the worker that accepts connections now.
func dialAPI(ctx context.Context, path string) (*runtimeAPI, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("ask haproxy for its members: %w", err)
	}
	a := &runtimeAPI{conn: conn, path: path}
	answers, err := a.exchange(ctx, "prompt", "show info")
	if err == nil {
		err = a.meet(answers[1])
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return a, nil
}

// meet reads the answer to "show info".
func (a *runtimeAPI) meet(info string) error {
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case key == "Pid":
			a.pid, _ = strconv.Atoi(value)
		case key == "Stopping" && value != "0":
			return fmt.Errorf("ask %s: the worker that answers is stopping", a.path)
		}
	}
	if a.pid <= 0 {
		return fmt.Errorf("ask %s: %q does not tell the worker's process", a.path, firstLine(info))
	}
	return nil
}

func (a *runtimeAPI) close() { a.conn.Close() }

// ask sends commands, as many as it takes, and gives what was answered to each.
func (a *runtimeAPI) ask(ctx context.Context, commands []string) ([]string, error) {
	answers := make([]string, 0, len(commands))
	for len(commands) > 0 {
		n := min(len(commands), apiBatch)
		got, err := a.exchange(ctx, commands[:n]...)
		if err != nil {
			return nil, err
		}
		answers, commands = append(answers, got...), commands[n:]
	}
	return answers, nil
}

// exchange is one round trip. After an error the connection is of no use any more.
func (a *runtimeAPI) exchange(ctx context.Context, commands ...string) ([]string, error) {
	if err := a.conn.SetDeadline(time.Now().Add(apiTimeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = a.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answers, err := a.roundTrip(commands)
	if err == nil {
		return answers, nil
	}
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return nil, fmt.Errorf("ask %s: %w", a.path, err)
}

func (a *runtimeAPI) roundTrip(commands []string) ([]string, error) {
	if _, err := a.conn.Write([]byte(strings.Join(commands, "\n") + "\n")); err != nil {
		return nil, err
	}
	answers := make([]string, 0, len(commands))
	buffer := make([]byte, 64<<10)
	seen := 0 // of rest, without a prompt
	for {
		for len(answers) < len(commands) {
			i := bytes.Index(a.rest[seen:], []byte(apiPrompt))
			if i < 0 {
				seen = max(0, len(a.rest)-len(apiPrompt))
				break
			}
			answers = append(answers, strings.TrimSpace(string(a.rest[:seen+i])))
			a.rest, seen = a.rest[seen+i+len(apiPrompt):], 0
		}
		switch {
		case len(answers) == len(commands) && len(a.rest) > 0:
			return nil, fmt.Errorf("more was answered than asked: %q", firstLine(string(a.rest)))
		case len(answers) == len(commands):
			return answers, nil
		case len(a.rest) > apiMost:
			return nil, fmt.Errorf("an answer is longer than %d bytes", apiMost)
		}
		n, err := a.conn.Read(buffer)
		if a.rest = append(a.rest, buffer[:n]...); err != nil && n == 0 {
			return nil, fmt.Errorf("no answer to %q: %w", commands[len(answers)], err)
		}
	}
}

// firstLine gives the first line, of which an operator can make something.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line[:min(len(line), 200)]
}
