package templates

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
)

// marks find the drop-ins in what a template has written: each one's text is given to
// the template behind a mark that nobody can guess, and the marks are taken out again.
// The newline at its end, which some editors write and some do not, is left to the template.
type marks struct {
	fragments []Fragment // as they are
	begin     [][]byte
}

// newMarks marks the drop-ins of b.
func newMarks(b *Balancer) marks {
	m := marks{fragments: b.DropIns}
	b.DropIns = slices.Clone(b.DropIns)
	for i := range b.DropIns {
		mark := make([]byte, 16)
		_, _ = rand.Read(mark) // never fails: crypto/rand ends the program instead
		m.begin = append(m.begin, []byte(hex.EncodeToString(mark)))
		b.DropIns[i].Content = string(m.begin[i]) + strings.TrimSuffix(b.DropIns[i].Content, "\n")
	}
	return m
}

// take gives the content without marks, and where they stood.
func (m marks) take(content []byte) ([]byte, []Origin) {
	var origins []Origin
	for i, mark := range m.begin {
		for {
			at := bytes.Index(content, mark)
			if at < 0 {
				break
			}
			content = slices.Delete(content, at, at+len(mark))
			line := 1 + bytes.Count(content[:at], []byte("\n"))
			lines := 1 + strings.Count(strings.TrimSuffix(m.fragments[i].Content, "\n"), "\n")
			origins = append(origins, Origin{Line: line, End: line + lines, Path: m.fragments[i].Path})
		}
	}
	slices.SortFunc(origins, func(x, y Origin) int { return x.Line - y.Line })
	return content, origins
}
