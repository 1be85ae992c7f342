package reload

import (
	"context"
	"errors"
)

// Check has the server check a candidate that is not meant to be served: neither
// the files nor the server change. The error is a *StepError.
func (t *Transaction) Check(ctx context.Context, c Candidate) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	files, err := t.open(c)
	if err != nil {
		return c.stepError(StepStage, err)
	}
	w := &work{Transaction: t, files: files, candidate: c}
	step, err := w.prepare(ctx)
	err = errors.Join(err, w.files.unstage(t.disk))
	w.sweep(false)
	if err != nil {
		return c.stepError(step, err)
	}
	return nil
}
