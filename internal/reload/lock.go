package reload

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// files are the destinations of one candidate.
type files []*destination

func (fs files) equal() bool {
	for _, d := range fs {
		if !d.equal() {
			return false
		}
	}
	return true
}

func (fs files) unstage() error {
	var errs []error
	for _, d := range fs {
		errs = append(errs, d.unstage())
	}
	return errors.Join(errs...)
}

func (fs files) restore(rename func(from, to string) error) error {
	var errs []error
	for _, d := range fs {
		if err := d.restore(rename); err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %w", d.path, err))
		}
	}
	return errors.Join(errs...)
}

// open looks at what is on disk for every file of a candidate. From then on no
// other process may keep these files.
func (t *Transaction) open(c Candidate) (files, error) {
	if c.Generation == "" || len(c.Files) == 0 {
		return nil, errors.New("candidate has no generation or no files")
	}
	var fs files
	seen := map[string]bool{}
	for _, f := range c.Files {
		real, err := resolve(f.Path)
		if err != nil {
			return nil, err
		}
		if seen[real] {
			return nil, fmt.Errorf("candidate has %s twice", real)
		}
		seen[real] = true
		d := &destination{path: f.Path, real: real, want: f.Content}
		if err := t.lock(d); err != nil {
			return nil, err
		}
		if err := d.read(); err != nil {
			return nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
		fs = append(fs, d)
	}
	return fs, nil
}

// Lock makes the caller the one that keeps the files, until Close. Apply does so
// by itself; a program that is going to run for long says at its start whether it
// will be able to. ErrLocked if another process was first.
func (t *Transaction) Lock(paths ...string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, path := range paths {
		real, err := resolve(path)
		if err != nil {
			return err
		}
		if err := t.lock(&destination{path: path, real: real}); err != nil {
			return err
		}
	}
	return nil
}

// lock holds a lock file beside the destination; the destination itself is
// another file after every swap. The kernel lets go when the process dies.
func (t *Transaction) lock(d *destination) error {
	name := d.lockName()
	if t.locks[name] != nil {
		return nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w (is another render running with the same --output?)", d.path, ErrLocked)
		}
		return fmt.Errorf("lock %s: %w", d.path, err)
	}
	t.locks[name] = f
	return nil
}

// Close lets other processes keep the files. The lock files stay: to remove one
// would let two processes hold a lock of the same name.
func (t *Transaction) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for name, f := range t.locks {
		errs = append(errs, f.Close())
		delete(t.locks, name)
	}
	return errors.Join(errs...)
}
