package reload

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// traced adds, to each line of the candidate's files that a server's words name and
// that comes from another file, where it comes from. nginx and HAProxy say
// "/path:12", Apache says "line 12 of /path".
func (c Candidate) traced(words string) string {
	for _, f := range c.Files {
		if len(f.Origins) == 0 {
			continue
		}
		for _, path := range f.names() {
			words = f.trace(words, path)
		}
	}
	return words
}

// names are those that a server may have for the file.
func (f File) names() []string {
	if real, err := resolve(f.Path); err == nil && real != f.Path {
		return []string{f.Path, real}
	}
	return []string{f.Path}
}

func (f File) trace(words, path string) string {
	name := regexp.QuoteMeta(path)
	place := regexp.MustCompile(`line (\d+) of ` + name + `|` + name + `:(\d+)`)
	var b strings.Builder
	from := 0
	for _, m := range place.FindAllStringSubmatchIndex(words, -1) {
		at := m[2:4]
		if at[0] < 0 {
			at = m[4:6]
		}
		line, err := strconv.Atoi(words[at[0]:at[1]])
		where, ok := f.origin(line)
		if err != nil || !ok || partOfName(words[m[1]:]) {
			continue
		}
		b.WriteString(words[from:m[1]] + " (" + where + ")")
		from = m[1]
	}
	return b.String() + words[from:]
}

// origin gives the place that a line comes from. Of a line of the file's own, it is the
// other file's before it: what is not closed there is complained about here. ok is false
// where there is none.
func (f File) origin(line int) (place string, ok bool) {
	for _, o := range slices.Backward(f.Origins) {
		switch {
		case line < o.Line:
		case line < o.End:
			return fmt.Sprintf("%s:%d", o.Path, line-o.Line+1), true
		default:
			return fmt.Sprintf("after %s:%d", o.Path, o.End-o.Line), true
		}
	}
	return "", false
}

// partOfName says that what a path was found in goes on, so that it is another path.
func partOfName(rest string) bool {
	return rest != "" && strings.ContainsAny(rest[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-")
}
