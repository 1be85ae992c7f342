package units

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// A File is a unit file, or a drop-in, as its author wrote it. The parser of go-systemd
// gives no line numbers, and nothing at all of a file with one mistake; a linter lives of both.
type File struct {
	Path    string
	Entries []Entry

	findings []Finding
}

// An Entry is one assignment.
type Entry struct {
	Line                 int // of its beginning, counted from 1
	Section, Name, Value string
}

// Parse reads a unit file as systemd does (systemd.syntax(7)): what cannot be understood
// becomes a finding, and is left out.
func Parse(path string, text []byte) *File {
	f := &File{Path: path}
	var section, pending string
	begin, going := 0, false
	for i, l := range strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		l = strings.TrimSuffix(l, "\r")
		if len(l) > maxLine {
			f.find(i+1, "split it, or put what is long into a script or an environment file",
				"the line has %d bytes; fleet refuses more than %d, and old systemds cut it off", len(l), maxLine)
		}
		l = strings.TrimLeft(l, " \t")
		if l != "" && (l[0] == '#' || l[0] == ';') {
			continue
		}
		if !going {
			begin = i + 1
		}
		pending += l
		if going = continues(pending); going {
			pending = pending[:len(pending)-1] + " "
			continue
		}
		if trimmed := strings.TrimRight(l, " \t"); continues(trimmed) {
			f.find(i+1, "remove the blanks", "there are blanks after the backslash, so that the next line is not part of this one")
			pending = strings.TrimSuffix(strings.TrimRight(pending, " \t"), `\`)
		}
		section = f.assign(begin, section, strings.Trim(pending, " \t"))
		pending = ""
	}
	if going {
		f.assign(begin, section, strings.Trim(pending, " \t"))
	}
	return f
}

// continues says whether a line ends in a backslash that is not escaped itself.
func continues(l string) bool {
	escaped := false
	for _, c := range []byte(l) {
		escaped = c == '\\' && !escaped
	}
	return escaped
}

// assign takes one whole line, and gives the section that holds from there on.
func (f *File) assign(at int, section, l string) string {
	name, value, ok := strings.Cut(l, "=")
	switch {
	case l == "":
	case !utf8.ValidString(l) || strings.ContainsRune(l, 0):
		f.find(at, "", "the line is not valid UTF-8, and systemd ignores it")
	case l[0] == '[' && len(l) > 2 && l[len(l)-1] == ']':
		return l[1 : len(l)-1]
	case l[0] == '[':
		f.find(at, "", "%.80q is no section", l)
	case !ok:
		f.find(at, "one that goes on in the next line ends in a backslash", "%.80q is no assignment", l)
	case section == "":
		f.find(at, "", "%.80s= stands before any section, and is ignored", name)
	default:
		f.Entries = append(f.Entries, Entry{at, section, strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")})
	}
	return section
}

func (f *File) find(at int, hint, format string, args ...any) {
	f.findings = append(f.findings, Finding{f.Path, at, fmt.Sprintf(format, args...), hint})
}

// unit gives the name of the unit that the file is, or is part of: that of a drop-in
// is its directory's.
func (f *File) unit() string {
	if dir, ok := strings.CutSuffix(filepath.Base(filepath.Dir(f.Path)), ".d"); ok && strings.HasSuffix(f.Path, ".conf") {
		return dir
	}
	return filepath.Base(f.Path)
}

// dropIn says whether the file is only part of a unit.
func (f *File) dropIn() bool { return f.unit() != filepath.Base(f.Path) }
