package inputs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

const (
	maxFile    = 4 << 20 // bytes; a chain, a template or a fragment is far below
	maxEntries = 10_000  // of a directory; a wrong one, such as /usr/lib, must not be read
)

// read gives a file's content. A pipe or a device is refused rather than waited for.
// Its errors do not name the path.
func read(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a file")
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, reason(err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("is longer than %d bytes", maxFile)
	}
	return content, nil
}

// private says whether others than the owner and the group may not read a file.
func private(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 == 0
}

// readText is read for a file that becomes text of a configuration. Servers read up to a
// NUL and take the rest for something else, or for nothing.
func readText(path string) (string, error) {
	content, err := read(path)
	if err != nil {
		return "", err
	}
	if i := bytes.IndexByte(content, 0); i >= 0 {
		return "", fmt.Errorf("line %d: holds a NUL character", lineAt(content, i))
	}
	if !utf8.Valid(content) {
		return "", fmt.Errorf("line %d: is not valid UTF-8", invalidLine(content))
	}
	return string(content), nil
}

func invalidLine(content []byte) int {
	n := 0
	for line := range bytes.Lines(content) {
		n++
		if !utf8.Valid(line) {
			break
		}
	}
	return n
}

func lineAt(content []byte, offset int) int { return 1 + bytes.Count(content[:offset], []byte("\n")) }

// entries names what is in a directory, sorted, without what editors and packagers leave there.
// Its errors do not name the directory.
func entries(dir string) ([]string, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	names, err := file.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("is not a directory")
	}
	if len(names) > maxEntries {
		return nil, fmt.Errorf("holds more than %d files", maxEntries)
	}
	names = slices.DeleteFunc(names, isLeftover)
	slices.Sort(names)
	return names, nil
}

// isLeftover says whether a name is one that nobody means: hidden, a backup, an editor's,
// or what a package's old or new version of a file is kept as.
func isLeftover(name string) bool {
	switch filepath.Ext(name) {
	case ".swp", ".swx", ".tmp", ".bak", ".orig", ".rej", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".dpkg-tmp", ".rpmsave", ".rpmnew", ".ucf-old", ".ucf-new", ".ucf-dist":
		return true
	}
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || strings.HasSuffix(name, "~")
}

// reason gives what the system said without the call and the path.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
