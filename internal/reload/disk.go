package reload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A disk does all that a transaction does to files. Tests see every operation
// before it is done, where they may have it fail, or die.
type disk struct {
	before func(op, path string) error // nil but in tests
}

func (k disk) do(op, path string, f func() error) error {
	if k.before != nil {
		if err := k.before(op, path); err != nil {
			return hinted(err, path)
		}
	}
	return hinted(f(), path)
}

// write makes a new file, down to the disk, in the place of one that a killed run has left.
func (k disk) write(path string, content []byte, a attributes) error {
	if err := k.remove(path); err != nil {
		return err
	}
	return k.do("write", path, func() error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(fill(f, content, a), f.Close())
	})
}

func fill(f *os.File, content []byte, a attributes) error {
	if a.uid != os.Geteuid() || a.gid != os.Getegid() {
		// Only root may give files away. Whoever else may write here has to do with its own.
		if err := f.Chown(a.uid, a.gid); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if err := f.Chmod(a.mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// overwrite gives a file another content without replacing it. The room for it is
// taken before the first byte is written, so that a full disk spoils nothing; and
// what is too much is cut off last, so that a file of the same length is never
// seen empty.
func (k disk) overwrite(path string, content []byte) error {
	return k.do("overwrite", path, func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(max(1, len(content))))
		if err == nil || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
			_, err = f.Write(content)
		}
		if err == nil {
			err = f.Truncate(int64(len(content)))
		}
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	})
}

func (k disk) rename(from, to string) error {
	return k.do("rename", to, func() error { return os.Rename(from, to) })
}

func (k disk) link(from, to string) error {
	if err := k.remove(to); err != nil {
		return err
	}
	return k.do("link", to, func() error { return os.Link(from, to) })
}

// remove is content with a file that is not there.
func (k disk) remove(path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return k.do("remove", path, func() error { return removeIfThere(path) })
}

// sync has the disk know which names the files in a directory have.
func (k disk) sync(dir string) error {
	return k.do("sync", dir, func() error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// attributes are what a file keeps although it is replaced.
type attributes struct {
	mode     fs.FileMode
	uid, gid int
}

// attributesOf gives those of a file, or those of a new one.
func attributesOf(path string) attributes {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return attributes{0o644, os.Geteuid(), os.Getegid()}
	}
	return attributes{fs.FileMode(st.Mode & 0o777), int(st.Uid), int(st.Gid)}
}

// withoutOthers leaves only the owner's permissions.
func (a attributes) withoutOthers() attributes {
	a.mode &= 0o700
	return a
}

// hinted adds to a disk's error what can be done about it.
func hinted(err error, path string) error {
	dir := filepath.Dir(path)
	hint := ""
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		hint = "make room on the file system of " + dir
	case errors.Is(err, unix.EROFS):
		hint = "make " + dir + " writable; in a systemd unit by ReadWritePaths=, in a container by a mount without :ro"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = fmt.Sprintf("let user %d write to %s; an immutable file shows in lsattr", os.Geteuid(), dir)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		hint = "create the directory " + dir
	default:
		return err
	}
	return fmt.Errorf("%w (hint: %s)", err, hint)
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
