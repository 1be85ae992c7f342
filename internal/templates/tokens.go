package templates

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
)

// tokens stand for a generation, a structure and a revision while a template is
// executed. They do not occur in anything else.
type tokens struct {
	generation, structure string
	revision              int64
	digits                []byte // of the revision, with which the others begin: one search finds all
}

func newTokens() tokens {
	var random [40]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	// Nineteen digits, as many as the largest int64 has.
	revision := int64(binary.BigEndian.Uint64(random[32:])%(math.MaxInt64-1e18)) + 1e18
	digits := strconv.AppendInt(nil, revision, 10)
	return tokens{
		string(digits) + hex.EncodeToString(random[:16]), string(digits) + hex.EncodeToString(random[16:32]), revision, digits,
	}
}

// A draft is a rendered file without its tokens.
type draft struct {
	pieces [][]byte
	blanks []blank // what is to follow each piece but the last
}

// A blank is where one of three things is to be put in.
type blank byte

const (
	blankRevision blank = iota
	blankGeneration
	blankStructure
)

// cut takes the tokens out of what a template has written.
func (t tokens) cut(content []byte) draft {
	var d draft
	generation, structure := []byte(t.generation)[len(t.digits):], []byte(t.structure)[len(t.digits):]
	for {
		piece, after, ok := bytes.Cut(content, t.digits)
		d.pieces = append(d.pieces, piece)
		if !ok {
			return d
		}
		content = after
		b := blankRevision
		if rest, ok := bytes.CutPrefix(after, generation); ok {
			content, b = rest, blankGeneration
		} else if rest, ok := bytes.CutPrefix(after, structure); ok {
			content, b = rest, blankStructure
		}
		d.blanks = append(d.blanks, b)
	}
}

// fill puts generation, structure and revision in, and gives also the parts of the
// content between which the revision stands.
func (d draft) fill(generation, structure, revision string) (content []byte, between [][]byte) {
	words := map[blank]string{blankRevision: revision, blankGeneration: generation, blankStructure: structure}
	size := 0
	for _, p := range d.pieces {
		size += len(p) + max(len(generation), len(structure), len(revision))
	}
	content = make([]byte, 0, size)
	begin := 0
	for i, p := range d.pieces {
		content = append(content, p...)
		if i == len(d.blanks) {
			break
		}
		if d.blanks[i] == blankRevision {
			between = append(between, content[begin:])
		}
		content = append(content, words[d.blanks[i]]...)
		if d.blanks[i] == blankRevision {
			begin = len(content)
		}
	}
	return content, append(between, content[begin:])
}
