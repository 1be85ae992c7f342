package reload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Everything that is kept beside a destination begins with a dot, which no
// server's include glob matches, and with our name.
const hidden = ".rollcall-"

// A destination is one file of a configuration: on disk, as it should be, and as
// it was when it was last known to be good.
type destination struct {
	path   string // as it was asked for
	real   string // where it is, symbolic links followed
	want   []byte
	have   []byte // what is on disk; nil if there is no file
	good   []byte // what served last; nil if nothing did
	staged string // where want lies; "" while it does not
}

func (d *destination) beside(suffix string) string {
	dir, base := filepath.Split(d.real)
	return dir + hidden + base + suffix
}

func (d *destination) stagedName() string { return d.beside(".staged") }
func (d *destination) goodName() string   { return d.beside(".good") }
func (d *destination) lockName() string   { return d.beside(".lock") }

func (d *destination) equal() bool { return d.have != nil && bytes.Equal(d.have, d.want) }

// resolve follows a symbolic link at the path, also one to a file that is not there yet.
func resolve(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("path %s is not absolute", path)
	}
	path = filepath.Clean(path)
	for range 40 { // as many as the kernel follows, path_resolution(7)
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil //nolint:nilerr // it is no symbolic link
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return "", fmt.Errorf("path %s: %w", path, unix.ELOOP)
}

// read looks at what is on disk and removes what a killed run has left.
func (d *destination) read() (err error) {
	if d.have, err = readIfThere(d.real); err != nil {
		return err
	}
	if d.good, err = readIfThere(d.goodName()); err != nil {
		return err
	}
	return removeIfThere(d.stagedName())
}

// readIfThere gives nil for a file that is not there and never nil for one that is.
func readIfThere(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if b == nil {
		b = []byte{}
	}
	return b, err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// stage writes the content beside the destination, down to the disk, with the
// owner and the mode that the destination has.
func (d *destination) stage(content []byte) error {
	name := d.stagedName()
	if err := removeIfThere(name); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	d.staged = name
	return errors.Join(d.fill(f, content), f.Close())
}

func (d *destination) fill(f *os.File, content []byte) error {
	mode, uid, gid := d.attributes()
	if uid != os.Geteuid() || gid != os.Getegid() {
		// Only root may give files away. Whoever else may write here has to do with its own.
		if err := f.Chown(uid, gid); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

func (d *destination) attributes() (mode fs.FileMode, uid, gid int) {
	var st unix.Stat_t
	if err := unix.Stat(d.real, &st); err != nil {
		return 0o644, os.Geteuid(), os.Getegid()
	}
	return fs.FileMode(st.Mode & 0o777), int(st.Uid), int(st.Gid)
}

// unstage removes a staged file that is not going to be swapped in.
func (d *destination) unstage() error {
	if d.staged == "" {
		return nil
	}
	d.staged = ""
	return removeIfThere(d.stagedName())
}

// swap puts the staged file in the destination's place. A file that is a mount
// of its own, as containers like to have it, cannot be replaced: it is written in place.
func (d *destination) swap(rename func(from, to string) error) error {
	err := rename(d.staged, d.real)
	switch {
	case errors.Is(err, unix.EBUSY):
		content, err := os.ReadFile(d.staged)
		if err != nil {
			return err
		}
		if err := writeInPlace(d.real, content); err != nil {
			return err
		}
		return d.unstage()
	case err != nil:
		return err
	}
	d.staged = ""
	return syncDir(filepath.Dir(d.real))
}

// writeInPlace writes before it cuts off what is too much, so that a file of the
// same length is never seen empty.
func writeInPlace(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// keep remembers a content as the last good one.
func (d *destination) keep(content []byte) error {
	if d.good != nil && bytes.Equal(d.good, content) {
		return nil
	}
	mode, _, _ := d.attributes()
	if err := renameio.WriteFile(d.goodName(), content, mode, renameio.WithTempDir(filepath.Dir(d.real)), renameio.IgnoreUmask()); err != nil {
		return err
	}
	d.good = content
	return syncDir(filepath.Dir(d.real))
}

// restore puts the last good content back, or removes the file if there was none.
func (d *destination) restore(rename func(from, to string) error) error {
	if d.good == nil && d.have != nil {
		return nil // it is what was found, and was not replaced
	}
	if d.good == nil {
		if err := removeIfThere(d.real); err != nil {
			return err
		}
		return syncDir(filepath.Dir(d.real))
	}
	now, err := readIfThere(d.real)
	if err != nil {
		return err
	}
	if now != nil && bytes.Equal(now, d.good) {
		return nil
	}
	if err := d.stage(d.good); err != nil {
		return err
	}
	return d.swap(rename)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
