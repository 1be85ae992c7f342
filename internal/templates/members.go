package templates

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"text/template"
)

// memberMarks are what {{members}} and {{endMembers}} write around the lines of a
// configuration that say who its members are: those that a server may be told of while it
// runs. All others are its structure. Nobody can guess the marks, and they are the same
// for as long as the template lives, because sections remember them.
type memberMarks struct{ begin, end string }

func newMemberMarks() memberMarks {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	return memberMarks{hex.EncodeToString(random[:16]), hex.EncodeToString(random[16:])}
}

func (m memberMarks) functions() template.FuncMap {
	return template.FuncMap{
		"members":    func() string { return m.begin },
		"endMembers": func() string { return m.end },
	}
}

var errMembers = errors.New("{{members}} and {{endMembers}} do not alternate")

// take gives the content without marks, and what of it is structure: nil for all.
func (m memberMarks) take(content []byte) (whole, structure []byte, err error) {
	if !bytes.Contains(content, []byte(m.begin)) {
		if bytes.Contains(content, []byte(m.end)) {
			return nil, nil, errMembers
		}
		return content, nil, nil
	}
	whole = make([]byte, 0, len(content))
	for {
		before, after, ok := bytes.Cut(content, []byte(m.begin))
		if bytes.Contains(before, []byte(m.end)) {
			return nil, nil, errMembers
		}
		whole, structure = append(whole, before...), append(structure, before...)
		if !ok {
			return whole, structure, nil
		}
		inside, rest, ok := bytes.Cut(after, []byte(m.end))
		if !ok || bytes.Contains(inside, []byte(m.begin)) {
			return nil, nil, errMembers
		}
		whole, content = append(whole, inside...), rest
	}
}
