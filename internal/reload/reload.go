// Package reload makes a proxy serve a configuration, or leaves it as it was. It
// stages the files beside their destinations, has the server check the whole
// configuration, swaps them in, has the server read them, and waits until the
// server itself says that it serves them; when a step fails, the last good files
// and the last good server are restored.
//
// It knows files, processes and signals, one small file per proxy and the
// process that reads the configuration (a supervised child, or one found by its
// pid file). It may not know what the files say: no services, no etcd, no Docker
// and no templates. Linux only: it reads /proc and waits on pidfds.
package reload

import (
	"context"
	"errors"
	"time"
)

// A File is one file of a configuration, as it should be.
type File struct {
	Path    string // absolute; a symbolic link is followed, and stays
	Content []byte
}

// A Candidate is one rendered configuration.
type Candidate struct {
	Generation string // what the server answers on its generation endpoint; one word
	Files      []File // swapped in this order
}

// Staged says where the files of a candidate lie while they are checked.
type Staged struct {
	Generation string
	Files      []StagedFile
}

// A StagedFile is a file of a candidate before the swap. Staged equals Path when
// the file on disk is as it should be already.
type StagedFile struct {
	Path   string // where it will be
	Staged string // where it is now
}

// A Proxy is what a server's driver does for the transaction.
type Proxy interface {
	// Name gives the server's name for messages: "nginx".
	Name() string
	// Validate has the server check the whole configuration with the staged files
	// in it. It does not touch the running server.
	Validate(ctx context.Context, staged Staged) error
	// Reload has the server read its files again without losing a request.
	// ErrNotRunning says that there is no server to do it.
	Reload(ctx context.Context) error
	// Running gives the generation that the server says it serves.
	Running(ctx context.Context) (generation string, err error)
	// Confirm waits until every process that accepts connections serves the
	// generation, and gives the workers of older ones that are still alive.
	Confirm(ctx context.Context, generation string) (Workers, error)
}

// Workers are processes of older configurations that still finish requests.
type Workers interface {
	// Wait returns when all of them are gone, or with the context's error.
	Wait(ctx context.Context) error
}

// An Outcome says what Apply did.
type Outcome struct {
	Changed  bool          // files were written
	Reloaded bool          // the server was told
	Took     time.Duration // from the call to the confirmation; zero when there was nothing to do
	Old      Workers       // workers of older configurations; never nil unless Apply failed
}

// ErrNotRunning is returned when there is no server that could read its files.
// The files are in place all the same: it will read them when it starts.
var ErrNotRunning = errors.New("server is not running")

// ErrLocked is returned when another process keeps the same file.
var ErrLocked = errors.New("file is kept by another process")

// A Step names a part of the transaction.
type Step string

// The steps, in their order.
const (
	StepStage    Step = "stage"
	StepValidate Step = "validate"
	StepSwap     Step = "swap"
	StepReload   Step = "reload"
	StepConfirm  Step = "confirm"
)

// A StepError says which step failed, and with which words of the server.
type StepError struct {
	Step     Step
	Err      error
	Output   string // the server's own words, at most 4 KiB; "" if it said nothing
	Rollback error  // why the last good files or server could not be restored; nil if they were
}

func (e *StepError) Error() string {
	msg := string(e.Step) + ": " + e.Err.Error()
	if e.Rollback != nil {
		msg += "; and the last good configuration could not be restored: " + e.Rollback.Error()
	}
	return msg
}

// Unwrap gives the step's error and, if there is one, the rollback's.
func (e *StepError) Unwrap() []error {
	if e.Rollback != nil {
		return []error{e.Err, e.Rollback}
	}
	return []error{e.Err}
}

// A ServerError is an error to which the server had something to say. Drivers
// return it so that the words reach whoever wrote the configuration.
type ServerError struct {
	Err    error
	Output string // at most 4 KiB
}

func (e *ServerError) Error() string { return e.Err.Error() }

func (e *ServerError) Unwrap() error { return e.Err }

func stepError(step Step, err error) *StepError {
	e := &StepError{Step: step, Err: err}
	if said, ok := errors.AsType[*ServerError](err); ok {
		e.Output = said.Output
	}
	return e
}
