package reload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Everything that is kept beside a destination begins with a dot, which no
// server's include glob matches, and with our name.
const hidden = ".rollcall-"

// A destination is one file of a configuration: on disk, and as it should be.
type destination struct {
	path   string // as it was asked for
	real   string // where it is, symbolic links followed
	want   []byte
	alone  bool   // for its owner alone
	there  bool   // there was a file at the beginning
	equal  bool   // and it was as it should be
	staged string // what is to be swapped in lies there; "" while nothing does
	next   bool   // what will be the last good content lies at nextName
}

func (d *destination) beside(suffix string) string {
	dir, base := filepath.Split(d.real)
	return dir + hidden + base + suffix
}

func (d *destination) stagedName() string  { return d.beside(".staged") }
func (d *destination) goodName() string    { return d.beside(".good") }
func (d *destination) nextName() string    { return d.beside(".next") }
func (d *destination) lockName() string    { return d.beside(".lock") }
func (d *destination) journalName() string { return d.beside(".swap") }

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

// look says whether the file on disk is as it should be, and removes what a killed
// run has left. Two files of different lengths need not be read to be told apart.
func (d *destination) look(k disk) error {
	info, err := os.Stat(d.real)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return hinted(err, d.real)
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file (hint: give the path of a file)")
	default:
		d.there = true
		if info.Size() == int64(len(d.want)) {
			have, err := os.ReadFile(d.real)
			if err != nil {
				return hinted(err, d.real)
			}
			d.equal = bytes.Equal(have, d.want) && d.attributes() == attributesOf(d.real)
		}
	}
	return errors.Join(k.remove(d.stagedName()), k.remove(d.nextName()))
}

// attributes are those that the destination has, or should have.
func (d *destination) attributes() attributes {
	a := attributesOf(d.real)
	if d.alone {
		a = a.withoutOthers()
	}
	return a
}

// stage writes a content beside the destination, down to the disk, with the owner
// and the mode that the destination has.
func (d *destination) stage(k disk, content []byte) error {
	d.staged = d.stagedName()
	return k.write(d.staged, content, d.attributes())
}

// stageGood stages what served last, if that is not what is there. It is linked
// where that can be done: a disk may be full when something has to be restored.
func (d *destination) stageGood(k disk) error {
	good, err := os.ReadFile(d.goodName())
	if err != nil {
		return err
	}
	now, err := readIfThere(d.real)
	if err != nil || now != nil && bytes.Equal(now, good) {
		return err
	}
	d.staged = d.stagedName()
	if err := k.link(d.goodName(), d.staged); err == nil {
		return nil
	}
	return d.stage(k, good)
}

// unstage removes a staged file that is not going to be swapped in.
func (d *destination) unstage(k disk) error {
	if d.staged == "" {
		return nil
	}
	d.staged = ""
	return k.remove(d.stagedName())
}

// swap puts the staged file in the destination's place. A file that is a mount of
// its own, as containers like to have it, cannot be replaced: it is written in
// place, after begin has been told.
func (d *destination) swap(k disk, begin func() error) error {
	err := k.rename(d.staged, d.real)
	if errors.Is(err, unix.EBUSY) {
		content, err := os.ReadFile(d.staged)
		if err != nil {
			return err
		}
		if err := begin(); err != nil {
			return err
		}
		if d.alone { // before there is anything to hide
			if err := os.Chmod(d.real, d.attributes().mode); err != nil {
				return hinted(err, d.real)
			}
		}
		if err := k.overwrite(d.real, content); err != nil {
			return err
		}
		return d.unstage(k)
	}
	if err == nil {
		d.staged = ""
	}
	return err
}

func (d *destination) hasGood() bool {
	_, err := os.Lstat(d.goodName())
	return err == nil
}

// kept says whether a content is kept as the last good one. A link to the
// destination does not count: whoever edits that in place would change both.
func (d *destination) kept(content []byte) bool {
	good, err := os.Stat(d.goodName())
	if err != nil || good.Size() != int64(len(content)) {
		return false
	}
	if now, err := os.Stat(d.real); err == nil && os.SameFile(now, good) {
		return false
	}
	b, err := os.ReadFile(d.goodName())
	return err == nil && bytes.Equal(b, content)
}

// prepare writes what keep is going to make the last good content.
func (d *destination) prepare(k disk, content []byte) error {
	if d.kept(content) {
		return nil
	}
	d.next = true
	return k.write(d.nextName(), content, d.attributes())
}

// keep makes what was prepared the last good content.
func (d *destination) keep(k disk) error {
	if !d.next {
		return nil
	}
	if err := k.rename(d.nextName(), d.goodName()); err != nil {
		return err
	}
	d.next = false
	return nil
}

// discard removes what was prepared in vain.
func (d *destination) discard(k disk) error {
	if !d.next {
		return nil
	}
	d.next = false
	return k.remove(d.nextName())
}
