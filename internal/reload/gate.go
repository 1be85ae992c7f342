package reload

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A gate is open from before the files are staged until the server has changed over. What
// is left of the clients' kept connections when the server is told to read its files is
// what a reload may cost: it closes them, and a request that is on its way by then has
// been executed, or not, and nobody but its client can tell.
type gate struct {
	w      *work
	proxy  Gated
	opened time.Time
}

// openGate opens the gate of a server that has one, when the candidate asks for it. Nil
// is a gate that is no hindrance. That it cannot be opened is worth a warning only: the
// reload is then like any other.
func (w *work) openGate() *gate {
	proxy, ok := w.proxy.(Gated)
	if !ok || !w.candidate.Gentle || proxy.Gate() == "" {
		return nil
	}
	w.ajar = true
	if err := mark(proxy.Gate()); err != nil {
		w.ajar = !errors.Is(err, fs.ErrExist) // what somebody else has put there is not ours to remove
		w.log.Warn("clients' kept connections could not be ended before a reload", "err", err)
		w.shutGate()
		return nil
	}
	return &gate{w: w, proxy: proxy, opened: time.Now()}
}

// mark makes a file that the server's workers look for, and need not be able to read. A link
// that somebody has put there is refused, not followed.
func mark(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Close()) // whatever the umask
}

// shutGate removes the file: that of this run, or of one that was killed. Afterwards it
// does nothing until the next gate is opened, or the removal has failed.
func (t *Transaction) shutGate() {
	proxy, ok := t.proxy.(Gated)
	if !ok || !t.ajar {
		return
	}
	t.ajar = false
	if proxy.Gate() == "" {
		return
	}
	if err := unix.Unlink(proxy.Gate()); err != nil && !errors.Is(err, unix.ENOENT) {
		t.ajar = true // every connection ends with its answer while it is there
		t.log.Warn("the gate could not be shut; the next change tries again", "err", &os.PathError{Op: "remove", Path: proxy.Gate(), Err: err})
	}
}

// wait returns when no client keeps a connection. Two looks have to say so: between two
// requests of one connection there are moments in which a server counts it neither as
// kept nor as busy. It also returns when the gate has been open for long enough, when
// somebody is in a hurry, or with the context.
func (g *gate) wait(ctx context.Context) {
	if g == nil || g.w.before().Generation == "" { // no server, no connections
		return
	}
	const again, pause = 2 * time.Millisecond, 10 * time.Millisecond
	ctx, cancel := context.WithDeadline(ctx, g.opened.Add(g.w.timeouts.Gate))
	defer cancel()
	hurry := g.w.candidate.Hurry
	for none := 0; ctx.Err() == nil; {
		if hurry != nil && hurry() {
			return
		}
		next := pause
		// Where it cannot be known, the connections get the whole time.
		if n, err := g.proxy.Kept(ctx); err == nil && n == 0 {
			if none++; none == 2 {
				return
			}
			next = again
		} else {
			none = 0
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}
