package reload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// luaControl is where our Lua in nginx is told of members.
type luaControl struct {
	socket string
	secret string
}

// errLuaOther says that nginx has read its files since it was asked the last time.
var errLuaOther = errors.New("nginx has read its files again")

const (
	luaPath    = "/rollcall/members"
	luaHeader  = "Rollcall-Secret"
	maxLuaBody = 256 << 10 // bytes of commands at a time; nginx takes 4 MiB
	maxLuaAsks = 500       // commands at a time that take a worker a few microseconds each
)

// A luaHead is what every answer begins with: which structure the worker has, in which
// memory requests are counted, and how often members have been read from files into it.
type luaHead struct{ structure, memory, loads string }

func (h luaHead) String() string { return h.structure + " " + h.memory + " " + h.loads }

// say has nginx carry out commands, a line each, on a connection of its own: one that
// was kept would be answered by the worker that took it, however old. Unless on is zero,
// nothing is done by one that is not as it says: then the error is errLuaOther.
func (c luaControl) say(ctx context.Context, on luaHead, commands []string) (luaHead, []string, error) {
	if on != (luaHead{}) {
		commands = append([]string{"on " + on.String()}, commands...)
	}
	status, body, err := c.post(ctx, strings.Join(commands, "\n")+"\n")
	if err != nil {
		return luaHead{}, nil, fmt.Errorf("ask %s for members: %w", c.socket, err)
	}
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	words := strings.Split(lines[0], " ")
	switch {
	case status == http.StatusConflict:
		return luaHead{}, nil, errLuaOther
	case status != http.StatusOK:
		return luaHead{}, nil, fmt.Errorf("%w: nginx answered %s with status %d: %.200s", ErrNeedsReload, luaPath, status, lines[0])
	case len(words) != 3:
		return luaHead{}, nil, fmt.Errorf("%w: nginx answered %s by %.80q", ErrNeedsReload, luaPath, lines[0])
	}
	return luaHead{words[0], words[1], words[2]}, lines[1:], nil
}

func (c luaControl) post(ctx context.Context, commands string) (status int, answer string, err error) {
	const long, most = 5 * time.Second, 64 << 20
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", c.socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://rollcall.invalid"+luaPath, strings.NewReader(commands))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set(luaHeader, c.secret)
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	return resp.StatusCode, string(body), err
}
