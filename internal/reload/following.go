package reload

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// following is what a transaction knows of a server whose members change while it runs.
type following struct {
	mu        sync.Mutex
	structure string  // what is confirmed to run; "" if that is not known, or takes no members
	deaf      string  // the structure that took no members even right after its reload; "" if none
	old       Workers // of older configurations
	// last is what the server was told last: it may be newer than the last good files.
	last *Members
	// doubted says that it did not answer the last time. Once passes by itself.
	doubted bool
}

// forget is for a server that is about to be told something else.
func (f *following) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.structure, f.old = "", nil
}

func (f *following) learn(structure string, old Workers) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.structure, f.old = structure, old
}

// Sync changes the members of the running server, and nothing else: files follow by
// Place. It is for a server in which Apply has put the structure into service, and may be
// called while Place runs. What it cannot do, such as what ErrNeedsReload says, Apply can.
func (t *Transaction) Sync(ctx context.Context, m *Members) (Outcome, error) {
	live, ok := t.proxy.(Live)
	if !ok || m == nil {
		return Outcome{}, ErrNeedsReload
	}
	f := &t.members
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Structure == "" || f.structure != m.Structure {
		return Outcome{}, ErrNeedsReload
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, t.timeouts.Reload)
	defer cancel()
	n, err := live.Sync(ctx, *m, false)
	if err != nil {
		return Outcome{}, err
	}
	f.last = m
	return Outcome{Members: n, Took: time.Since(began), Old: f.old, Leaving: live.Leaving()}, nil
}

// Place puts the files of a candidate in place whose members the running server has
// already, by Sync: nobody reads them before the server's next start. They are checked
// all the same.
//
// An error is a *StepError. With ErrNeedsReload it says that the running server has
// another structure, or that somebody else has touched the files: that is for Apply.
func (t *Transaction) Place(ctx context.Context, c Candidate) (Outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members.mu.Lock()
	structure := t.members.structure
	t.members.mu.Unlock()
	if c.Members == nil || structure == "" || c.Members.Structure != structure {
		return Outcome{}, c.stepError(StepReload, ErrNeedsReload)
	}
	files, err := t.open(c)
	if err != nil {
		return Outcome{}, c.stepError(StepStage, err)
	}
	w := &work{Transaction: t, files: files, candidate: c}
	if !files.untouched() {
		return w.refuse(StepReload, ErrNeedsReload)
	}
	if step, err := w.ready(ctx); err != nil {
		return w.refuse(step, err)
	}
	return w.place()
}

// ready has the files checked, if they are not in place already.
func (w *work) ready(ctx context.Context) (Step, error) {
	if w.files.equal() {
		return StepStage, w.writeAssets()
	}
	return w.prepare(ctx)
}

// follows says that the running server has the candidate's structure, so that it needs
// to be told of the members only.
func (w *work) follows() bool {
	m := w.candidate.Members
	if m == nil || m.Structure == "" || m.Structure == w.members.deaf || w.before().Structure != m.Structure {
		return false
	}
	_, ok := w.proxy.(Live)
	return ok && w.files.untouched()
}

// follow confirms that every process that accepts connections has the structure, has the
// files checked, makes the running members what they say, and puts them in place. What a
// check refuses is not for the running server either.
func (w *work) follow(ctx context.Context) (Outcome, error) {
	old, err := w.confirm(ctx, w.before().Generation)
	if err == nil {
		var step Step
		if step, err = w.ready(ctx); err != nil {
			return w.refuse(step, err)
		}
		w.out.Members, err = w.sync(ctx)
	}
	if ctx.Err() != nil {
		return w.refuse(StepConfirm, errors.Join(err, ctx.Err()))
	}
	if err != nil {
		if !errors.Is(err, ErrNeedsReload) {
			if !w.members.doubted {
				w.members.doubted = true
				return w.refuse(StepConfirm, err)
			}
			w.log.Warn("members cannot be changed while the server runs; it is reloaded instead", "err", err)
		}
		w.out = Outcome{}
		return Outcome{}, ErrNeedsReload
	}
	w.members.doubted = false
	w.members.learn(w.candidate.Members.Structure, old)
	w.out.Old = old
	return w.place()
}

// sync reads all members back from the running server, and changes those that differ.
func (w *work) sync(ctx context.Context) (changed int, err error) {
	return w.tell(ctx, w.candidate.Members)
}

func (w *work) tell(ctx context.Context, m *Members) (changed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeouts.Reload)
	defer cancel()
	if changed, err = w.proxy.(Live).Sync(ctx, *m, true); err == nil {
		w.members.mu.Lock()
		defer w.members.mu.Unlock()
		w.members.last = m
	}
	return changed, err
}

// resume gives a server that has read the last good files again the members that it had:
// who was acknowledged as gone must not be back.
func (w *work) resume(ctx context.Context, old Workers) error {
	m := w.members.last
	if _, ok := w.proxy.(Live); !ok || m == nil || m.Structure != w.before().Structure {
		return nil
	}
	_, err := w.tell(ctx, m)
	switch {
	case err == nil:
		w.members.learn(m.Structure, old)
	case errors.Is(err, ErrNeedsReload):
		w.log.Warn("members cannot be changed as they were before", "err", err)
		return nil
	}
	return err
}

// met looks at the members of a server that has just read its files. When it has not
// those, another reload would not help either.
func (w *work) met(ctx context.Context, old Workers) {
	live, ok := w.proxy.(Live)
	m := w.candidate.Members
	if !ok || m == nil || m.Structure == "" {
		return
	}
	w.members.deaf = ""
	if _, err := w.sync(ctx); err != nil && ctx.Err() == nil {
		w.members.deaf = m.Structure
		w.log.Warn("members cannot be changed while the server runs; each change is a reload", "err", err)
	} else if err == nil {
		w.members.learn(m.Structure, old)
	}
	w.out.Leaving = live.Leaving()
}

// place puts files that are ready in place, without having them read.
func (w *work) place() (Outcome, error) {
	if !w.files.equal() {
		if err := w.swap(); err != nil {
			return w.fail(StepSwap, err)
		}
	}
	w.keep(w.prepareGood())
	if live, ok := w.proxy.(Live); ok {
		w.out.Leaving = live.Leaving()
	}
	return w.out, nil
}

// untouched says that the files on disk are the last good ones, or as they should be:
// nobody else has written what the server may have read.
func (fs files) untouched() bool {
	for _, d := range fs {
		if d.equal {
			continue
		}
		good, err := os.ReadFile(d.goodName())
		if err != nil {
			return false
		}
		if now, err := os.ReadFile(d.real); err != nil || !bytes.Equal(now, good) {
			return false
		}
	}
	return true
}
