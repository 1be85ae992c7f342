package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Timeouts bound the steps that wait for a server.
type Timeouts struct {
	Validate time.Duration // the server's own check
	Reload   time.Duration // until the master has been told, or started
	Confirm  time.Duration // until all that accept connections serve the new generation
}

// DefaultTimeouts are generous: measured reloads of 10,000 services stay below three seconds.
func DefaultTimeouts() Timeouts {
	return Timeouts{Validate: 30 * time.Second, Reload: 30 * time.Second, Confirm: 15 * time.Second}
}

// Config says what a transaction works with.
type Config struct {
	Proxy    Proxy
	Logger   *slog.Logger
	Timeouts Timeouts // those that are zero are the default's
}

// A Transaction brings desired, on disk and running together. It may be used
// from several goroutines, one after the other.
type Transaction struct {
	proxy    Proxy
	log      *slog.Logger
	timeouts Timeouts
	rename   func(from, to string) error

	mu    sync.Mutex
	locks map[string]*os.File // by the name of the lock file
}

// New prepares transactions on one server. Nothing is touched before Apply or Lock.
func New(c Config) *Transaction {
	t := DefaultTimeouts()
	for _, o := range []struct{ to, from *time.Duration }{
		{&t.Validate, &c.Timeouts.Validate}, {&t.Reload, &c.Timeouts.Reload}, {&t.Confirm, &c.Timeouts.Confirm},
	} {
		if *o.from > 0 {
			*o.to = *o.from
		}
	}
	return &Transaction{proxy: c.Proxy, log: c.Logger, timeouts: t, rename: os.Rename, locks: map[string]*os.File{}}
}

// Apply makes the candidate what is on disk and what is running. It looks at all
// three and does only what is missing, so that it may be called again at any time.
//
// An error is a *StepError. The last good files and the last good server are
// restored then, with two exceptions: ErrNotRunning leaves the new files for the
// server's next start, and so does a context that ended after the swap, since
// the next Apply goes on from there.
func (t *Transaction) Apply(ctx context.Context, c Candidate) (Outcome, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	began := time.Now()
	out, err := t.apply(ctx, c)
	if out.Changed || out.Reloaded {
		out.Took = time.Since(began)
	}
	return out, err
}

func (t *Transaction) apply(ctx context.Context, c Candidate) (Outcome, error) {
	files, err := t.open(c)
	if err != nil {
		return Outcome{}, stepError(StepStage, err)
	}
	before, err := t.proxy.Running(ctx)
	if err != nil {
		before = ""
	}
	w := &work{Transaction: t, files: files, want: c.Generation, before: before}
	if files.equal() && before == c.Generation {
		if old, err := w.confirm(ctx, c.Generation); err == nil {
			w.keep()
			return Outcome{Old: old}, nil
		}
	}
	return w.run(ctx)
}

// work is one run of a transaction.
type work struct {
	*Transaction
	files  files
	want   string // the candidate's generation
	before string // the one that ran at the beginning; "" if none did
	out    Outcome
}

func (w *work) run(ctx context.Context) (Outcome, error) {
	staged, err := w.stage()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return w.refuse(StepStage, err)
	}
	if err := w.validate(ctx, staged); err != nil {
		return w.refuse(StepValidate, err)
	}
	if err := w.swap(); err != nil {
		return w.fail(StepSwap, err)
	}
	if err := w.reload(ctx); err != nil {
		if errors.Is(err, ErrNotRunning) || ctx.Err() != nil {
			return w.out, stepError(StepReload, err)
		}
		return w.fail(StepReload, err)
	}
	w.out.Reloaded = true
	old, err := w.confirm(ctx, w.want)
	if err != nil {
		if ctx.Err() != nil {
			return w.out, stepError(StepConfirm, err)
		}
		return w.fail(StepConfirm, err)
	}
	w.keep()
	w.out.Old = old
	return w.out, nil
}

// refuse ends a run that has not touched anything that serves.
func (w *work) refuse(step Step, err error) (Outcome, error) {
	return Outcome{}, stepError(step, errors.Join(err, w.files.unstage()))
}

// fail ends a run that has, and restores what served before. It does so even
// when the caller is in a hurry: half a configuration must not be what stays.
func (w *work) fail(step Step, err error) (Outcome, error) {
	e := stepError(step, err)
	if err := w.rollBack(step); err != nil {
		e.Rollback = err
	}
	return Outcome{}, e
}

func (w *work) rollBack(step Step) error {
	if err := errors.Join(w.files.unstage(), w.files.restore(w.rename)); err != nil {
		return err
	}
	if step == StepSwap {
		return nil // the server knows nothing of it
	}
	ctx := context.Background()
	if err := w.reload(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if w.before == "" {
		return nil
	}
	_, err := w.confirm(ctx, w.before)
	return err
}

func (w *work) validate(ctx context.Context, staged Staged) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeouts.Validate)
	defer cancel()
	return w.proxy.Validate(ctx, staged)
}

func (w *work) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeouts.Reload)
	defer cancel()
	return w.proxy.Reload(ctx)
}

func (w *work) confirm(ctx context.Context, generation string) (Workers, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeouts.Confirm)
	defer cancel()
	return w.proxy.Confirm(ctx, generation)
}

func (w *work) stage() (Staged, error) {
	staged := Staged{Generation: w.want}
	for _, d := range w.files {
		at := d.real
		if !d.equal() {
			if err := d.stage(d.want); err != nil {
				return staged, fmt.Errorf("stage %s: %w", d.path, err)
			}
			at = d.staged
		}
		staged.Files = append(staged.Files, StagedFile{Path: d.path, Staged: at})
	}
	return staged, nil
}

// swap keeps what was there before the first file of ours, then renames.
func (w *work) swap() error {
	for _, d := range w.files {
		if d.good == nil && d.have != nil && !d.equal() {
			if err := d.keep(d.have); err != nil {
				return fmt.Errorf("keep the last good %s: %w", d.path, err)
			}
		}
	}
	for _, d := range w.files {
		if d.staged == "" {
			continue
		}
		w.out.Changed = true
		if err := d.swap(w.rename); err != nil {
			return fmt.Errorf("swap %s: %w", d.path, err)
		}
	}
	return nil
}

// keep remembers the confirmed files. That it could not is worth a warning only:
// the configuration serves.
func (w *work) keep() {
	for _, d := range w.files {
		if err := d.keep(d.want); err != nil {
			w.log.Warn("confirmed configuration could not be kept as the last good one", "file", d.path, "err", err)
		}
	}
}
