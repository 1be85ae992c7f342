package reload

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// keptPath is where nginx says how many of its clients' connections wait for a request.
const keptPath = "/rollcall/kept"

var _ Gated = (*Nginx)(nil)

// Gate implements Gated.
func (n *Nginx) Gate() string { return n.gate }

// Kept implements Gated by nginx's own count, which its workers share.
func (n *Nginx) Kept(ctx context.Context) (int, error) {
	body, err := n.control.get(ctx, keptPath)
	var kept int
	if err == nil {
		kept, err = strconv.Atoi(strings.TrimSpace(body))
	}
	if err != nil {
		return 0, fmt.Errorf("ask nginx for its kept connections: %w", err)
	}
	return kept, nil
}

// NginxCounts says whether an nginx knows how many connections it keeps. One that was
// built without that refuses a configuration which asks for it.
func NginxCounts(ctx context.Context, program string, run Runner) (bool, error) {
	if run == nil {
		run = Run
	}
	said, err := run(ctx, program, "-V")
	if err != nil {
		return false, fmt.Errorf("ask %s how it was built: %w", program, err)
	}
	return strings.Contains(said, "--with-http_stub_status_module"), nil
}

var _ Gated = (*Apache)(nil)

// Gate implements Gated.
func (a *Apache) Gate() string { return a.gate }

var scoreboard = regexp.MustCompile(`(?m)^Scoreboard: (.*)$`)

// Kept implements Gated. What Apache itself says of kept connections may be older than a
// second, since its children only count when something wakes them. So all connections are
// counted, less the requests that run: that is what its scoreboard tells at once.
func (a *Apache) Kept(ctx context.Context) (int, error) {
	ports, err := a.ports()
	if err != nil {
		return 0, err
	}
	before, err := established(ports)
	if err != nil {
		return 0, err
	}
	status, err := a.control.get(ctx, "/rollcall/status?auto")
	if err != nil {
		return 0, fmt.Errorf("ask apache for its kept connections: %w", err)
	}
	m := scoreboard.FindStringSubmatch(status)
	if m == nil {
		return 0, errors.New("ask apache for its kept connections: it shows no scoreboard")
	}
	// Reading, writing, looking up a name. Who closes a connection or writes the log has
	// none any more that is open; one of them wrote the status.
	busy := -1
	for _, state := range m[1] {
		if strings.ContainsRune("RWD", state) {
			busy++
		}
	}
	// Those that came or went meanwhile count too, lest one of their requests is taken
	// for one of a connection that is kept.
	after, err := established(ports)
	for c := range after {
		before[c] = true
	}
	return max(0, len(before)-max(0, busy)), err
}

// ports lists those on which clients come: of all that the server listens on the one on
// which it is asked is left out.
func (a *Apache) ports() (ports []uint16, err error) {
	master, ok := a.master.Process()
	if !ok {
		return nil, ErrNotRunning
	}
	if !master.nearby() {
		return nil, fmt.Errorf("process %d has a network of its own, whose connections cannot be counted from here", master.Pid)
	}
	open := listeners(master.Pid)
	held, err := master.open(socketsOf(open))
	if err != nil {
		return nil, fmt.Errorf("count the connections of process %d: %w", master.Pid, err)
	}
	for _, l := range open {
		if held[l.socket] && l.address.String() != a.control.address && !slices.Contains(ports, l.address.Port()) {
			ports = append(ports, l.address.Port())
		}
	}
	return ports, nil
}

var _ Gated = (*commands)(nil)

// Gate implements Gated: there is one where the driver has one, whatever the commands do.
func (c *commands) Gate() string {
	if g, ok := c.driver.(Gated); ok {
		return g.Gate()
	}
	return ""
}

// Kept implements Gated.
func (c *commands) Kept(ctx context.Context) (int, error) {
	if g, ok := c.driver.(Gated); ok {
		return g.Kept(ctx)
	}
	return 0, fmt.Errorf("%s has no gate", c.Name())
}
