package reload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// A Unit is the master of a server that systemd runs, as a service of its own. It is
// reloaded as "systemctl reload" does, which needs root or a polkit rule.
type Unit struct {
	name string
	dial func(context.Context) (*systemd.Conn, error)

	mu    sync.Mutex
	conn  *systemd.Conn // nil while there is none
	known Process       // the master when systemd could be asked last
}

var _ Master = (*Unit)(nil)

// NewUnit names the unit, such as "nginx.service". Nothing is asked for yet.
func NewUnit(name string) *Unit { return &Unit{name: name, dial: systemd.NewWithContext} }

// Close gives up the connection to systemd.
func (u *Unit) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop()
	return nil
}

// connection gives the one connection, opened again if it was lost. It outlives the
// context; the caller's part is to hold the lock.
func (u *Unit) connection() (*systemd.Conn, error) {
	if u.conn != nil && u.conn.Connected() {
		return u.conn, nil
	}
	u.drop()
	conn, err := u.dial(context.Background())
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w (hint: in a container, mount /run/systemd/private and /run/dbus/system_bus_socket of the machine)", err)
	}
	u.conn = conn
	return conn, nil
}

func (u *Unit) drop() {
	if u.conn != nil {
		u.conn.Close()
		u.conn = nil
	}
}

// property asks for a property of the service.
func (u *Unit) property(name string) (any, error) {
	conn, err := u.connection()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	p, err := conn.GetServicePropertyContext(ctx, u.name, name)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", name, u.name, err)
	}
	return p.Value.Value(), nil
}

// Process implements Master. While systemd does not answer, as when it executes itself
// anew, it is the process that was known before.
func (u *Unit) Process() (Process, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, err := u.process()
	if err != nil {
		return u.known, u.known.Pid > 0 && u.known.alive()
	}
	return p, p.Pid > 0
}

// process gives the unit's main process, or none.
func (u *Unit) process() (Process, error) {
	value, err := u.property("MainPID")
	if err != nil {
		return Process{}, err
	}
	u.known = Process{}
	if pid, ok := value.(uint32); ok && pid > 0 {
		u.known, _ = findProcess(int(pid))
	}
	return u.known, nil
}

// Reload implements Master. It waits for systemd's job, as long as the context allows.
func (u *Unit) Reload(ctx context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	p, err := u.process()
	if err != nil {
		return err
	}
	if p.Pid == 0 {
		return fmt.Errorf("%w: unit %s has no main process", ErrNotRunning, u.name)
	}
	result := make(chan string, 1) // systemd's answer is not waited for without it, nor does it wait for us
	if _, err := u.conn.ReloadUnitContext(ctx, u.name, "replace", result); err != nil {
		return u.refusal(err)
	}
	select {
	case got := <-result:
		if got != "done" {
			return fmt.Errorf("reload of unit %s: %s (hint: systemctl status %s)", u.name, got, u.name)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reload of unit %s has not ended: %w", u.name, ctx.Err())
	}
}

// refusal says what can be done about a reload that systemd does not begin.
func (u *Unit) refusal(err error) error {
	hint := "systemctl status " + u.name
	if refused, ok := errors.AsType[dbus.Error](err); ok {
		switch refused.Name {
		case "org.freedesktop.systemd1.JobTypeNotApplicable":
			hint = "the unit needs an ExecReload="
		case "org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
			hint = "run render as root, or allow org.freedesktop.systemd1.manage-units for this unit by a polkit rule"
		}
	}
	return fmt.Errorf("reload of unit %s: %w (hint: %s)", u.name, err, hint)
}

// Orphans implements Master; systemd looks after the unit's processes.
func (u *Unit) Orphans() []Process { return nil }

// Words implements Master: the status that the server has told systemd, as HAProxy does.
func (u *Unit) Words() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	value, err := u.property("StatusText")
	if err != nil {
		return "" // it is not ours to say that systemd is away
	}
	text, _ := value.(string)
	return text
}
