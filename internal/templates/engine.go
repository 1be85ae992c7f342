// Package templates turns the picture of what is to be balanced into a proxy's
// configuration: the engine, the few functions a template may call, and the
// built-in balancers for nginx, Apache httpd and HAProxy.
//
// It is hermetic: the same Balancer and the same template give the same bytes, on
// every machine. It knows no etcd, file, process, environment, clock or network;
// what a name resolves to and whether the server likes the result is for others
// to find out.
package templates

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the built-in balancers
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/template"
)

// maxOutput bounds what a template may write: far above the configuration of a
// hundred thousand servers, far below what takes the machine down.
const maxOutput = 256 << 20

var (
	//go:embed nginx.tmpl
	nginxText string
	//go:embed apache.tmpl
	apacheText string
	//go:embed haproxy.tmpl
	haproxyText string
)

// A Template is a parsed template. It may be used by several goroutines at once.
type Template struct {
	parsed  *template.Template
	members memberMarks
	limit   int // bytes of output
	memory  atomic.Pointer[memory]
}

// Output is one rendered file of a configuration.
type Output struct {
	Content []byte // ends with a newline
	// Generation names the configuration: 12 hexadecimal digits, the same for two
	// that differ only in the revision they were made from.
	Generation string
	// Structure names it in the same way, less what stands between {{members}} and
	// {{endMembers}}; "" if no template prints {{.Structure}}, so that no server could tell.
	Structure string
	Origins   []Origin // where the drop-ins stand, sorted by line

	between [][]byte // the content cut at each place where the revision stands
}

// An Origin says that the lines from Line to before End, counted from 1, are those of
// the drop-in at Path.
type Origin struct {
	Line, End int
	Path      string
}

// Builtin gives the built-in balancer of a proxy, "nginx", "apache" or "haproxy".
func Builtin(proxy string) (*Template, error) {
	text, err := BuiltinText(proxy)
	if err != nil {
		return nil, err
	}
	return Parse(proxy+".tmpl", text)
}

// BuiltinText gives what Builtin parses: where a template of one's own begins.
func BuiltinText(proxy string) (string, error) {
	switch proxy {
	case "nginx":
		return nginxText, nil
	case "apache":
		return apacheText, nil
	case "haproxy":
		return haproxyText, nil
	}
	return "", fmt.Errorf("no built-in balancer for %q; there is one for nginx, apache and haproxy", proxy)
}

// Name gives the name that Parse was given.
func (t *Template) Name() string { return t.parsed.Name() }

// Parse reads a template in the language of text/template. Errors begin with the
// place, name:line. A key that a map does not hold is an error when it is rendered.
func Parse(name, text string) (*Template, error) {
	members := newMemberMarks()
	t, err := template.New(name).Funcs(functions()).Funcs(members.functions()).Funcs(new(sections).functions()).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, placed(name, err)
	}
	return &Template{parsed: t, members: members, limit: maxOutput}, nil
}

// Render executes one template; see RenderAll.
func (t *Template) Render(b Balancer) (Output, error) {
	list, err := RenderAll(b, t)
	if err != nil {
		return Output{}, err
	}
	return list[0], nil
}

// RenderAll executes templates with b as their data. Generation, Structure and Revision
// of b are ignored: the templates are given tokens nobody can guess in their place, what
// they give together is named by its hash without them, and then the names and the
// revision are put in. So a template may print them, but not compute with them.
//
// What slices and maps in b hold must not be changed any more: the next rendering
// compares with it, see sections.
//
// An error names the template, the line and the reason, and there is no output.
func RenderAll(b Balancer, list ...*Template) ([]Output, error) {
	revision := strconv.FormatInt(b.Revision, 10)
	tokens := newTokens()
	b.Generation, b.Structure, b.Revision = tokens.generation, tokens.structure, tokens.revision
	marks := newMarks(&b)

	outputs, drafts := make([]Output, len(list)), make([]draft, len(list))
	memories := make([]*memory, len(list))
	sum, sumStructure := sha256.New(), sha256.New()
	told := false
	for i, t := range list {
		content, m, err := t.execute(b)
		var fixed []byte
		if err == nil {
			content, fixed, err = t.members.take(content)
		}
		if err != nil {
			return nil, placed(t.parsed.Name(), err)
		}
		if i > 0 {
			sum.Write([]byte{0})
			sumStructure.Write([]byte{0})
		}
		content, outputs[i].Origins = marks.take(content)
		drafts[i], memories[i] = tokens.cut(content), m
		for _, piece := range drafts[i].pieces {
			sum.Write(piece)
		}
		rest := drafts[i]
		if fixed != nil {
			fixed, _ = marks.take(fixed)
			rest = tokens.cut(fixed)
		}
		for _, piece := range rest.pieces {
			sumStructure.Write(piece)
		}
		told = told || slices.Contains(drafts[i].blanks, blankStructure)
	}
	generation, structure := name(sum), name(sumStructure)
	for i, t := range list {
		outputs[i].Generation = generation
		if told {
			outputs[i].Structure = structure
		}
		outputs[i].Content, outputs[i].between = drafts[i].fill(generation, structure, revision)
		t.memory.Store(memories[i])
	}
	return outputs, nil
}

// name gives 12 hexadecimal digits.
func name(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:6]) }

// execute gives what the template writes, and what the next time may use of it.
func (t *Template) execute(b Balancer) ([]byte, *memory, error) {
	parsed, sections, err := t.begin()
	if err != nil {
		return nil, nil, err
	}
	out := limitedBuffer{limit: t.limit}
	if last := t.memory.Load(); last != nil {
		out.Grow(last.size + last.size/64)
	}
	if err := parsed.Execute(&out, b); err != nil {
		return nil, nil, err
	}
	if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n') // HAProxy refuses a last line without it
	}
	return out.Bytes(), &memory{sections.now, out.Len()}, nil
}

// Same says whether another rendering, such as the file on disk, differs from this
// one in nothing but the revision it was made from. Such a file need not be written
// again, and no server needs to read it again.
func (o Output) Same(other []byte) bool {
	for n, part := range o.between {
		if n > 0 {
			rest := bytes.TrimLeft(other, "0123456789")
			if len(rest) == len(other) {
				return false
			}
			other = rest
		}
		var ok bool
		if other, ok = bytes.CutPrefix(other, part); !ok {
			return false
		}
	}
	return len(other) == 0
}

// placed gives text/template's error with the place in front: "nginx.tmpl:12:3: …",
// or the name alone where it is no line that is at fault.
func placed(name string, err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "template: "); ok {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// A limitedBuffer collects output up to a limit, and ends the template that exceeds it.
type limitedBuffer struct {
	bytes.Buffer
	limit int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, errTooLong(b.limit)
	}
	return b.Buffer.Write(p)
}

func errTooLong(limit int) error { return fmt.Errorf("output is longer than %d bytes", limit) }
