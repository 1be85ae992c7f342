package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// maxStatus bounds a STATUS line, in runes: it is one line of systemctl's output.
const maxStatus = 200

// A Notifier tells systemd how the daemon is (sd_notify(3)). Without
// NOTIFY_SOCKET in the environment everything it does is nothing.
// Its methods may be called from several goroutines.
type Notifier struct {
	logger   *slog.Logger
	send     func(state string) error
	watchdog time.Duration // WATCHDOG_USEC; 0 if systemd expects no sign of life

	mu       sync.Mutex
	ready    bool // READY=1 was sent
	stopping bool
	broken   bool // the last message could not be sent, and that has been logged
}

// NewNotifier reads what systemd expects from the environment. A watchdog
// interval that cannot be read is logged and then ignored.
func NewNotifier(logger *slog.Logger) *Notifier {
	n := &Notifier{logger: logger, send: func(state string) error {
		_, err := systemd.SdNotify(false, state)
		return err
	}}
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("watchdog is off", "err", err)
	}
	n.watchdog = interval
	return n
}

// Ready tells systemd why the daemon is not ready, or that it is when there are
// no reasons. It is what Readiness.Run wants to be given. READY=1 is sent once:
// systemd knows no way back, later changes show in the status only.
func (n *Notifier) Ready(reasons []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopping: // the status says what is being stopped
	case len(reasons) > 0:
		n.notify("STATUS=" + statusText("Not ready: "+reasons[0]))
	case n.ready:
		n.notify("STATUS=Ready")
	default:
		n.ready = true
		n.notify("READY=1\nSTATUS=Ready")
	}
}

// Watchdog gives systemd a sign of life at half the interval it asks for
// (WATCHDOG_USEC), as long as alive returns nil; then silence makes systemd
// restart the unit. Start it first, so that it ends last: systemd counts while
// the daemon stops, too. It returns nil when ctx is done.
func (n *Notifier) Watchdog(ctx context.Context, alive func() error) error {
	if n.watchdog <= 0 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(n.watchdog / 2)
	defer ticker.Stop()
	silent := false
	for {
		err := alive()
		if err == nil {
			n.mu.Lock()
			n.notify("WATCHDOG=1")
			n.mu.Unlock()
		} else if !silent {
			n.logger.Error("not alive, watchdog is not answered", "err", err)
		}
		silent = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// stop tells systemd what is being stopped now and how long that may take, so
// that TimeoutStopSec= does not cut short a wait that has a bound of its own.
func (n *Notifier) stop(what string, bound time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	state := "STATUS=" + statusText("Stopping: "+what)
	if !n.stopping {
		n.stopping = true
		state = "STOPPING=1\n" + state
	}
	n.notify(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", state, bound.Microseconds()))
}

// notify sends with n.mu held, so that messages leave in the order of what they
// tell. A failure is logged once, not at every sign of life.
func (n *Notifier) notify(state string) {
	err := n.send(state)
	if err != nil && !n.broken {
		n.logger.Warn("systemd cannot be notified", "err", err)
	}
	n.broken = err != nil
}

// statusText makes one printable line of a text that may hold what came from
// outside: a line break would begin a new field of the message, MAINPID= for one.
func statusText(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > maxStatus {
		return string(runes[:maxStatus-1]) + "…"
	}
	return s
}
