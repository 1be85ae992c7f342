package reload

import (
	"context"
	"slices"
	"strings"
)

// A worker is a process that serves, or served, an older configuration.
type worker struct {
	Process
	nth       int     // the reload before which it was young
	titled    bool    // its title tells whether it accepts connections
	listeners sockets // what it listened on when it was first looked at; nil if that may not be known
	closed    bool    // it accepts no more connections, and never will again
}

// newWorker looks at what a process listens on, among the sockets that accept connections.
func newWorker(p Process, nth int, among sockets) *worker {
	w := &worker{Process: p, nth: nth}
	if held, err := p.open(among); err == nil {
		w.listeners = held
	}
	return w
}

// accepting says whether the worker still takes connections.
func (w *worker) accepting() bool {
	switch {
	case w.closed:
	case !w.alive():
		w.closed = true
	case w.titled:
		w.closed = closingTitle(w.title())
	case w.listeners == nil:
		// Its files belong to another user. What is left is what the server answers.
		w.closed = true
	default:
		held, err := w.open(w.listeners)
		w.closed = err == nil && len(held) == 0
	}
	return !w.closed
}

// known says that it can be told whether the worker accepts connections.
func (w *worker) known() bool { return w.titled || w.listeners != nil }

// closingTitle recognizes an nginx worker that has been told to finish. It takes
// this title in the same breath in which it closes its listeners, before it
// could accept again, and any user may read it.
func closingTitle(title string) bool {
	return strings.HasPrefix(title, "nginx: worker process is shutting down")
}

// finishing are the workers of older configurations.
type finishing []*worker

var _ Workers = finishing{}

// Len implements Workers.
func (ws finishing) Len() int {
	n := 0
	for _, w := range ws {
		if w.alive() {
			n++
		}
	}
	return n
}

// Configurations implements Workers.
func (ws finishing) Configurations() int {
	of := map[int]bool{}
	for _, w := range ws {
		if w.alive() {
			of[w.nth] = true
		}
	}
	return len(of)
}

// Wait implements Workers.
func (ws finishing) Wait(ctx context.Context) error {
	for _, w := range ws {
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// alive gives those workers that are not gone, each once.
func alive(known []*worker) []*worker {
	seen := map[Process]bool{}
	return slices.DeleteFunc(known, func(w *worker) bool {
		if seen[w.Process] || !w.alive() {
			return true
		}
		seen[w.Process] = true
		return false
	})
}
