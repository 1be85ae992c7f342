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
	"net/netip"
	"time"
)

// A File is one file of a configuration, as it should be.
type File struct {
	Path    string // absolute; a symbolic link is followed, and stays
	Content []byte
	Origins []Origin // sorted by line
	Private bool     // readable by its owner alone, whatever mode it had; otherwise that stays
}

// An Origin says that a file's lines from Line to before End are those of another
// file, which people know: the server's words about them should name that one.
type Origin struct {
	Line, End int // the first line of a file is 1
	Path      string
}

// An Asset is a file that the configuration names, such as a certificate with its
// key. Its name tells its content, so that it never changes: it is written before
// anything that names it is checked, and removed when neither what is served nor
// the last good configuration names it any more.
type Asset struct {
	// Path is absolute, in AssetDir. The name ends in 12 to 64 hexadecimal digits and an
	// extension: whatever is called otherwise is never removed.
	Path    string
	Content []byte
	Public  bool // readable by everybody; otherwise by the owner alone
}

// A Candidate is one rendered configuration.
type Candidate struct {
	Generation string // what the server answers on its generation endpoint; one word
	Files      []File // swapped in this order
	Assets     []Asset
	// Listen are the addresses that the server is going to accept TCP connections on,
	// as ":80", "127.0.0.1:80" or "[::1]:80". Those that it does not listen on yet
	// have to be free: no server's own check looks.
	Listen []string
	// Gentle asks to have the clients' kept connections ended before the reload, where the
	// server can, see Gated: a reload closes them, perhaps under a request that is on its
	// way. That takes a while; when Hurry is not nil and says so, it is cut short.
	Gentle bool
	Hurry  func() bool `json:"-"`
	// Members are those that the files name, for a server whose members change while it
	// runs; nil if nothing but a reload brings the files into service.
	Members *Members
}

// A Serving is what a server says that it serves.
type Serving struct {
	Generation string
	Structure  string // see Members; "" if it says none
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
	// Running gives what the server says that it serves.
	Running(ctx context.Context) (Serving, error)
	// Confirm waits until every process that accepts connections serves the
	// generation, and gives the workers of older ones that are still alive.
	Confirm(ctx context.Context, generation string) (Workers, error)
	// Holds says whether the running server listens on the address already, so that
	// it keeps it through a reload; also when that cannot be known from here.
	Holds(address netip.AddrPort) bool
}

// Gated is a Proxy whose configuration has a gate: a file during whose existence the
// server ends its clients' kept connections with their next answer.
type Gated interface {
	Proxy
	// Gate gives the file's path; "" when the configuration has none.
	Gate() string
	// Kept counts the clients' connections that are open and wait for a request.
	Kept(ctx context.Context) (int, error)
}

// Workers are processes of older configurations that still finish requests.
type Workers interface {
	// Len counts those that are alive.
	Len() int
	// Configurations counts those that they are of: a reload leaves as many workers
	// behind as the server has, but one configuration.
	Configurations() int
	// Wait returns when all of them are gone, or with the context's error.
	Wait(ctx context.Context) error
}

// An Outcome says what Apply did.
type Outcome struct {
	Changed  bool          // files were written
	Reloaded bool          // the server was told to read them
	Members  int           // so many were changed in the running server
	Took     time.Duration // from the call to the confirmation; zero when there was nothing to do
	Old      Workers       // workers of older configurations; never nil unless Apply failed
	Leaving  []*Leaver     // members that get no new requests, and may have some running yet
}

// A Runner runs a command, without a shell, and gives what it printed, at most its
// last 4 KiB. When the context ends, the command and all its children are killed.
type Runner func(ctx context.Context, argv ...string) (output string, err error)

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
	Restored bool   // the last good files were put back, and served again where a server runs
	Rollback error  // why they could not be; nil if they were, or had not been touched
}

func (e *StepError) Error() string {
	msg := string(e.Step) + ": " + e.Err.Error()
	if e.Restored {
		msg += "; the last good configuration is back"
	}
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

// stepError has the words name the files that people know.
func (c Candidate) stepError(step Step, err error) *StepError {
	e := &StepError{Step: step, Err: err}
	if said, ok := errors.AsType[*ServerError](err); ok {
		e.Output = c.traced(said.Output)
	}
	return e
}
