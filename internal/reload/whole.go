package reload

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An include is a directive that has a server read other files, and where it stands.
type include struct {
	start, end int    // the directive, in bytes
	pattern    string // absolute; may hold wildcards
}

// A dialect is what servers have of their own in the way they include files.
type dialect struct {
	find  func(content []byte) []include
	write func(path string) string // a directive that includes one file
	// edit changes what else has to differ in a copy; the same content means nothing. Nil changes nothing.
	edit func(content []byte) []byte
	// inline says that several directives may share a line.
	inline bool
	// hint says what has to be put into the main file for it to include the path.
	hint func(path string) string
}

// A whole is the configuration that a server would read if the staged files were
// in place: a copy of the main file, under a hidden name beside it, in which the
// directives that lead to them name what they match, the staged files instead of
// those on disk. Nothing else moves, so relative paths and line numbers keep their meaning.
type whole struct {
	dialect dialect
	main    string
	staged  Staged
	found   map[string]bool // by Path: the main file leads to it
	mark    string          // tells our copies from another renderer's with the same main file
	made    []string
	of      map[string]string // what each of those is a copy of
}

func newWhole(d dialect, main string, staged Staged) *whole {
	h := fnv.New32a()
	for _, f := range staged.Files {
		_, _ = h.Write([]byte(f.Path))
	}
	return &whole{dialect: d, main: main, staged: staged, found: map[string]bool{}, of: map[string]string{}, mark: fmt.Sprintf("%s%08x-", hidden, h.Sum32())}
}

// path gives the file to check instead of the main file.
func (w *whole) path() (string, error) {
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(w.main), w.mark+"*")); err == nil {
		for _, name := range left { // of a run that was killed
			_ = os.Remove(name)
		}
	}
	main, own := w.stagedFor(w.main)
	if !own {
		main.Staged = w.main
	} else {
		w.found[main.Path] = true
	}
	content, touched, err := w.rewrite(main.Staged, 0)
	if err != nil {
		return "", err
	}
	for _, f := range w.staged.Files {
		if !w.found[f.Path] {
			return "", fmt.Errorf("%s does not include %s (hint: add %s)", w.main, f.Path, w.dialect.hint(f.Path))
		}
	}
	if !touched && filepath.Dir(main.Staged) == filepath.Dir(w.main) {
		return main.Staged, nil
	}
	return w.copy(w.main, content)
}

// remove takes away the copies.
func (w *whole) remove() {
	for _, name := range w.made {
		_ = os.Remove(name)
	}
}

// real gives a message of the server the names that people know.
func (w *whole) real(message string) string {
	for _, f := range w.staged.Files {
		message = strings.ReplaceAll(message, f.Staged, f.Path)
	}
	for _, name := range w.made {
		message = strings.ReplaceAll(message, name, w.of[name])
	}
	return message
}

func (w *whole) stagedFor(path string) (StagedFile, bool) {
	for _, f := range w.staged.Files {
		if f.Path == path || sameFile(f.Path, path) {
			return f, true
		}
	}
	return StagedFile{}, false
}

func sameFile(a, b string) bool {
	x, errA := resolve(a)
	y, errB := resolve(b)
	return errA == nil && errB == nil && x == y
}

// rewrite gives a file's content with the includes that lead to staged files
// changed; touched says whether there were any.
func (w *whole) rewrite(path string, depth int) (content []byte, touched bool, err error) {
	const deep = 16
	content, err = os.ReadFile(path)
	if err != nil || depth > deep {
		return nil, false, err
	}
	if w.dialect.edit != nil {
		edited := w.dialect.edit(content)
		content, touched = edited, !bytes.Equal(edited, content)
	}
	found := w.dialect.find(content)
	for _, inc := range slices.Backward(found) {
		paths, changed, err := w.expand(inc.pattern, depth)
		if err != nil {
			return nil, false, err
		}
		if !changed {
			continue
		}
		line, err := w.directives(path, paths)
		if err != nil {
			return nil, false, err
		}
		touched = true
		content = slices.Replace(content, inc.start, inc.end, []byte(line)...)
	}
	return content, touched, nil
}

// expand lists what a pattern matches, with staged files and changed copies in
// the place of those on disk.
func (w *whole) expand(pattern string, depth int) (paths []string, changed bool, err error) {
	for _, path := range w.matches(pattern) {
		f, own := w.stagedFor(path)
		if !own {
			f.Staged = path
			if err := w.mayNotInclude(path); err != nil {
				return nil, false, err
			}
		} else {
			w.found[f.Path] = true
		}
		content, touched, err := w.rewrite(f.Staged, depth+1)
		if err == nil && touched { // what cannot be read is for the server to complain about
			f.Staged, err = w.copy(path, content)
			if err != nil {
				return nil, false, err
			}
		}
		changed = changed || f.Staged != path
		paths = append(paths, f.Staged)
	}
	return paths, changed, nil
}

// mayNotInclude refuses a directory that a server includes as a whole, with all
// that is kept beside a destination.
func (w *whole) mayNotInclude(path string) error {
	for _, f := range w.staged.Files {
		info, err := os.Stat(path)
		if err == nil && info.IsDir() && strings.HasPrefix(f.Path, path+"/") {
			return fmt.Errorf("directory %s is included as a whole, hidden files and all (hint: include %s instead)", path, filepath.Join(path, "*.conf"))
		}
	}
	return nil
}

// matches lists what a pattern matches, as if the staged files were in place.
func (w *whole) matches(pattern string) []string {
	all, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	for _, f := range w.staged.Files {
		for _, path := range []string{f.Path, filepath.Join(filepath.Dir(pattern), filepath.Base(f.Path))} {
			if ok, err := filepath.Match(pattern, path); err == nil && ok && sameDir(path, f.Path) {
				all = append(all, path)
			}
		}
	}
	all = slices.DeleteFunc(all, func(path string) bool {
		return strings.HasPrefix(filepath.Base(path), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
	})
	slices.Sort(all)
	return slices.Compact(all)
}

func sameDir(a, b string) bool {
	a, b = filepath.Dir(a), filepath.Dir(b)
	if a == b {
		return true
	}
	x, errA := filepath.EvalSymlinks(a)
	y, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && x == y
}

// directives includes the paths, in the place of one directive of the named file.
func (w *whole) directives(of string, paths []string) (string, error) {
	var lines []string
	for _, p := range paths {
		lines = append(lines, w.dialect.write(p))
	}
	if w.dialect.inline || len(lines) == 1 {
		return strings.Join(lines, " "), nil
	}
	list, err := w.copy(of, []byte(strings.Join(lines, "\n")+"\n"))
	if err != nil {
		return "", err
	}
	return w.dialect.write(list), nil
}

// copy writes a file that only the check reads.
func (w *whole) copy(of string, content []byte) (string, error) {
	name := filepath.Join(filepath.Dir(w.main), fmt.Sprintf("%s%d=%s", w.mark, len(w.made), filepath.Base(of)))
	w.made, w.of[name] = append(w.made, name), of
	if err := os.WriteFile(name, content, 0o600); err != nil {
		return "", fmt.Errorf("stage a copy of %s: %w", of, err)
	}
	return name, nil
}
