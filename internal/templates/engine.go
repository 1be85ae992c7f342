// Package templates turns the picture of what is to be balanced into a proxy's
// configuration: the engine, the few functions a template may call, and the
// built-in balancers for nginx and Apache httpd.
//
// It is hermetic: the same Balancer and the same template give the same bytes, on
// every machine. It knows no etcd, file, process, environment, clock or network;
// what a name resolves to and whether the server likes the result is for others
// to find out.
package templates

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	_ "embed" // the built-in balancers
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
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
)

// A Template is a parsed template. It may be used by several goroutines at once.
type Template struct {
	parsed *template.Template
	limit  int // bytes of output
}

// Output is one rendered configuration.
type Output struct {
	Content []byte // ends with a newline
	// Generation names the content: 12 hexadecimal digits, the same for two contents
	// that differ only in the revision they were made from.
	Generation string

	between [][]byte // the content cut at each place where the revision stands
}

// Builtin gives the built-in balancer of a proxy, "nginx" or "apache".
func Builtin(proxy string) (*Template, error) {
	switch proxy {
	case "nginx":
		return Parse("nginx.tmpl", nginxText)
	case "apache":
		return Parse("apache.tmpl", apacheText)
	}
	return nil, fmt.Errorf("no built-in balancer for %q; there is one for nginx and one for apache", proxy)
}

// Parse reads a template in the language of text/template. Errors begin with the
// place, name:line. A key that a map does not hold is an error when it is rendered.
func Parse(name, text string) (*Template, error) {
	t, err := template.New(name).Funcs(functions()).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, placed(name, err)
	}
	return &Template{parsed: t, limit: maxOutput}, nil
}

// Render executes the template with b as its data. Generation and Revision of b are
// ignored: the template is given tokens nobody can guess in their place, the content
// is named by its hash without them, and then the name and the revision are put in.
// So a template may print both, but not compute with them.
//
// An error names the template, the line and the reason, and there is no output.
func (t *Template) Render(b Balancer) (Output, error) {
	revision := b.Revision
	generationToken, revisionToken := tokens()
	b.Generation, b.Revision = generationToken, revisionToken

	out := limitedBuffer{limit: t.limit}
	if err := t.parsed.Execute(&out, b); err != nil {
		return Output{}, placed(t.parsed.Name(), err)
	}
	content := out.Bytes()
	if !bytes.HasSuffix(content, []byte("\n")) {
		content = append(content, '\n') // HAProxy refuses a last line without it
	}
	gen, rev := []byte(generationToken), strconv.AppendInt(nil, revisionToken, 10)
	sum := sha256.Sum256(bytes.ReplaceAll(bytes.ReplaceAll(content, gen, nil), rev, nil))
	generation := hex.EncodeToString(sum[:6])
	content = bytes.ReplaceAll(content, gen, []byte(generation))
	between := bytes.Split(content, rev)
	content = bytes.Join(between, strconv.AppendInt(nil, revision, 10))
	return Output{Content: content, Generation: generation, between: between}, nil
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

// tokens gives stand-ins for a generation and a revision that do not occur in anything else.
func tokens() (generation string, revision int64) {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	// Nineteen digits, as many as the largest int64 has.
	n := binary.BigEndian.Uint64(random[16:]) % (math.MaxInt64 - 1e18)
	return hex.EncodeToString(random[:16]), int64(n) + 1e18
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
		return 0, fmt.Errorf("output is longer than %d bytes", b.limit)
	}
	return b.Buffer.Write(p)
}
