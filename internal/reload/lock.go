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
		if !d.equal {
			return false
		}
	}
	return true
}

func (fs files) unstage(k disk) error {
	var errs []error
	for _, d := range fs {
		errs = append(errs, d.unstage(k), d.discard(k))
	}
	return errors.Join(errs...)
}

// open looks at what is on disk for every file of a candidate. From then on no
// other process may keep these files.
func (t *Transaction) open(c Candidate) (files, error) {
	if c.Generation == "" || len(c.Files) == 0 {
		return nil, errors.New("candidate has no generation or no files")
	}
	var paths []string
	for _, f := range c.Files {
		paths = append(paths, f.Path)
	}
	fs, err := t.acquire(paths)
	if err != nil {
		return nil, err
	}
	for i, d := range fs {
		d.want, d.alone = c.Files[i].Content, c.Files[i].Private
		if err := d.look(t.disk); err != nil {
			return nil, fmt.Errorf("read %s: %w", d.path, err)
		}
	}
	return fs, nil
}

// acquire locks files, and undoes what a run that was killed has left half done.
func (t *Transaction) acquire(paths []string) (files, error) {
	var fs files
	seen := map[string]bool{}
	for _, path := range paths {
		real, err := resolve(path)
		if err != nil {
			return nil, err
		}
		if seen[real] {
			return nil, fmt.Errorf("candidate has %s twice", real)
		}
		seen[real] = true
		d := &destination{path: path, real: real}
		if err := t.lock(d); err != nil {
			return nil, err
		}
		fs = append(fs, d)
	}
	if err := fs.recover(t.disk); err != nil {
		return nil, fmt.Errorf("undo what a killed run has left: %w", err)
	}
	return fs, nil
}

// Lock makes the caller the one that keeps the files, until Close. Apply does so
// by itself; a program that is going to run for long says at its start whether it
// will be able to. ErrLocked if another process was first.
func (t *Transaction) Lock(paths ...string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.acquire(paths)
	return err
}

// lock holds a lock file beside the destination; the destination itself is
// another file after every swap. The kernel lets go when the process dies.
func (t *Transaction) lock(d *destination) error {
	name := d.lockName()
	if f := t.locks[name]; f != nil {
		if still(f, name) {
			return nil
		}
		f.Close() // the directory was removed and made again
		delete(t.locks, name)
	}
	if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
		if err := t.putAside(d); err != nil {
			return fmt.Errorf("put %s aside: %w", d.path, err)
		}
	}
	// Open for writing, it would keep the disk from being made read-only.
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.path, hinted(err, name))
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

// putAside copies a file that no render has kept yet, which the first configuration is
// going to replace: somebody may have written it by hand.
func (t *Transaction) putAside(d *destination) error {
	aside := d.beside(".before")
	have, err := readIfThere(d.real)
	if _, there := os.Lstat(aside); err != nil || len(have) == 0 || there == nil {
		return nil //nolint:nilerr // what cannot be read is for whoever wants to replace it
	}
	if err := t.disk.write(aside+".new", have, attributesOf(d.real)); err != nil {
		return err
	}
	if err := t.disk.rename(aside+".new", aside); err != nil {
		return err
	}
	t.log.Warn("there is a file that no render has made; a copy is put aside", "file", d.path, "copy", aside)
	return nil
}

// still says whether an open file is the one that has the name.
func still(f *os.File, name string) bool {
	held, errA := f.Stat()
	there, errB := os.Stat(name)
	return errA == nil && errB == nil && os.SameFile(held, there)
}

// Close lets other processes keep the files. The lock files stay: to remove one
// would let two processes hold a lock of the same name.
func (t *Transaction) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for name, f := range t.locks {
		// A child that is being started at this moment still has the file open, until it
		// executes its program: closing it would not be enough.
		errs = append(errs, unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
		delete(t.locks, name)
	}
	return errors.Join(errs...)
}
