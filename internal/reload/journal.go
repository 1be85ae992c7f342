package reload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Some things a kill can leave half done: the swap of several files, between two
// renames; the writing of one in place; and the change of what is kept of several
// as the last good ones. They are written down before they begin, and somebody who
// keeps the files again first undoes a swap, since nobody has confirmed it, and
// finishes the keeping, since everybody has. A server that starts in between reads
// the files as they are: those of a candidate are swapped in its order, so a file
// stands best before those that speak of what is new in it.
const (
	swapping = "swap"
	keeping  = "keep"
)

// begin writes down what is about to be done, and of a swap with which files. Those
// that were there before are kept as good by now; one of which nothing is kept is new.
func (fs files) begin(k disk, what string) error {
	name := fs[0].journalName()
	if _, err := os.Lstat(name); err == nil {
		return nil // what is being undone now
	}
	text := []byte(what + "\n")
	for _, d := range fs {
		if !d.there || d.hasGood() {
			text = append(strconv.AppendQuote(text, d.real), '\n')
		}
	}
	if err := k.write(name, text, attributes{0o600, os.Geteuid(), os.Getegid()}); err != nil {
		return err
	}
	return k.sync(filepath.Dir(name))
}

// end forgets what begin wrote.
func (fs files) end(k disk) error {
	if len(fs) == 0 {
		return nil
	}
	return k.remove(fs[0].journalName())
}

// swap puts all that is staged in its place.
func (fs files) swap(k disk) error {
	staged := slices.DeleteFunc(slices.Clone(fs), func(d *destination) bool { return d.staged == "" })
	if len(staged) > 1 {
		if err := fs.begin(k, swapping); err != nil {
			return err
		}
	}
	for _, d := range staged {
		if err := d.swap(k, func() error { return fs.begin(k, swapping) }); err != nil {
			return fmt.Errorf("swap %s: %w", d.path, err)
		}
	}
	if err := staged.sync(k); err != nil {
		return err
	}
	return fs.end(k)
}

// sync does so for each directory once.
func (fs files) sync(k disk) error {
	var dirs []string
	for _, d := range fs {
		dirs = append(dirs, filepath.Dir(d.real))
	}
	slices.Sort(dirs)
	var errs []error
	for _, dir := range slices.Compact(dirs) {
		errs = append(errs, k.sync(dir))
	}
	return errors.Join(errs...)
}

// restore puts back what served last, and removes what was not there before.
func (fs files) restore(k disk) error {
	var errs []error
	for _, d := range fs {
		var err error
		switch {
		case d.hasGood():
			err = d.stageGood(k)
		case !d.there:
			if err = k.remove(d.real); err == nil {
				err = k.sync(filepath.Dir(d.real))
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restore %s: %w", d.path, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return fs.swap(k)
}

// keep makes what was prepared the last good files.
func (fs files) keep(k disk) error {
	prepared := slices.DeleteFunc(slices.Clone(fs), func(d *destination) bool { return !d.next })
	if len(prepared) > 1 {
		if err := fs.begin(k, keeping); err != nil {
			return err
		}
	}
	for _, d := range prepared {
		if err := d.keep(k); err != nil {
			return err
		}
	}
	return fs.end(k)
}

// recover ends what a killed run had begun. It never touches other files than
// those it is asked for, whatever the journal says.
func (fs files) recover(k disk) error {
	for _, d := range fs {
		b, err := readIfThere(d.journalName())
		if err != nil {
			return err
		}
		what, list, _ := strings.Cut(string(b), "\n")
		switch what {
		case swapping:
			err = fs.listed(list).restore(k)
		case keeping:
			err = fs.finish(k)
		}
		if err == nil {
			err = k.remove(d.journalName())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listed gives those files that a journal names.
func (fs files) listed(list string) files {
	begun := map[string]bool{}
	for line := range strings.Lines(list) {
		if path, err := strconv.Unquote(strings.TrimSuffix(line, "\n")); err == nil {
			begun[path] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(fs), func(d *destination) bool { return !begun[d.real] })
}

// finish keeps what had been prepared.
func (fs files) finish(k disk) error {
	for _, d := range fs {
		_, err := os.Lstat(d.nextName())
		d.next = err == nil
	}
	return fs.keep(k)
}
