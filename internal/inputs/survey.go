package inputs

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links may lie on the way to a file, as for the kernel.
const maxLinks = 40

// A survey is one look at the files: where their changes would be seen, and how they are.
type survey struct {
	dirs  map[string]*watched // by real path
	state hash.Hash           // of everything that changes when a file does
}

// watched is a directory in which something matters.
type watched struct {
	id    identity
	all   bool            // every name but leftovers
	names map[string]bool // these, leftovers or not
}

// identity tells a directory from another that has taken its place.
type identity struct{ dev, ino uint64 }

// matters says whether an event is about something that was asked for.
func (s *survey) matters(path string) bool {
	w := s.dirs[filepath.Dir(path)]
	name := filepath.Base(path)
	return w != nil && (w.names[name] || w.all && !isLeftover(name))
}

// sameDirs says whether two surveys are seen from the same directories.
func (s *survey) sameDirs(other *survey) bool {
	return maps.EqualFunc(s.dirs, other.dirs, func(x, y *watched) bool { return x.id == y.id })
}

func (s *survey) sum() string { return string(s.state.Sum(nil)) }

// survey looks at all files of the configuration.
func (f *Files) survey() *survey {
	s := &survey{dirs: map[string]*watched{}, state: sha256.New()}
	for _, path := range f.cfg.Templates {
		s.follow(path)
	}
	for _, path := range f.cfg.Outputs {
		s.follow(path)
	}
	if f.cfg.DropIn != "" {
		s.directory(f.cfg.DropIn, 0)
	}
	if f.cfg.Certs != "" {
		s.directory(f.cfg.Certs, 1)
	}
	return s
}

// directory looks at a directory and what is in it, also in its own directories when depth
// allows. The directory may not be there yet.
func (s *survey) directory(path string, depth int) {
	real, isDir := s.follow(path)
	if !isDir {
		return
	}
	if w := s.watch(real); w != nil {
		w.all = true
	}
	names, err := entries(real)
	if err != nil {
		fmt.Fprintln(s.state, real, err)
		return
	}
	for _, name := range names {
		inner, isDir := s.follow(filepath.Join(real, name))
		if isDir && depth > 0 {
			s.directory(inner, depth-1)
		}
	}
}

// follow walks to a file as the kernel does, and notes on the way every directory in which
// a part of the path could be replaced: an ancestor, or a link's target. It gives the
// real path, as far as there is one, and whether that is a directory.
func (s *survey) follow(path string) (string, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		fmt.Fprintln(s.state, path, err)
		return path, false
	}
	at, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		if w := s.watch(at); w != nil {
			w.names[name] = true
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			fmt.Fprintln(s.state, next, err)
			return next, false
		}
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				fmt.Fprintln(s.state, next, "leads nowhere")
				return next, false
			}
			fmt.Fprintln(s.state, next, target)
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		case info.IsDir():
			fmt.Fprintln(s.state, next, identityOf(info))
		default:
			fmt.Fprintln(s.state, next, signature(info))
		}
		at = next
		if !info.IsDir() {
			return at, false
		}
	}
	return at, true
}

// watch adds a directory to those in which something matters; nil if it is gone again.
func (s *survey) watch(dir string) *watched {
	if w, ok := s.dirs[dir]; ok {
		return w
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil
	}
	w := &watched{id: identityOf(info), names: map[string]bool{}}
	s.dirs[dir] = w
	return w
}

func identityOf(info os.FileInfo) identity {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}
	}
	return identity{uint64(st.Dev), st.Ino} //nolint:unconvert // narrower on other machines
}

// signature gives what cannot stay the same when a file's content or permissions change.
func signature(info os.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprint(info.Size(), info.ModTime(), info.Mode())
	}
	return fmt.Sprint(st.Dev, st.Ino, st.Size, st.Mode, st.Uid, st.Gid, st.Mtim, st.Ctim)
}
