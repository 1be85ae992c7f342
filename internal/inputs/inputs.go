// Package inputs reads and watches the operator's files: templates, drop-ins and
// certificates. What it gives has been checked as far as a file can be checked alone;
// a file that is wrong is refused by name, and takes nothing else with it.
//
// It knows no etcd and no server: what the files become, and whether a server likes
// that, is for others to find out.
package inputs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"time"

	"github.com/fsnotify/fsnotify"

	"rollcall/internal/templates"
)

// Config says which files there are. A path may be relative, and anything on the way
// to it a symbolic link.
type Config struct {
	Proxy     string   // whose built-in template is used when Templates is empty
	Templates []string // paths
	DropIn    string   // directory of fragments (*.conf for nginx/apache, *.cfg for haproxy); "" none
	Certs     string   // directory of certificates; "" none
	Outputs   []string // files whose change by others is worth a look
	Logger    *slog.Logger
}

// A Set is what the files said when they were read. Its slices are the caller's to read only.
type Set struct {
	Templates []*templates.Template // in the order of Config.Templates; or the built-in one
	DropIns   []templates.Fragment  // sorted by path
	Pairs     []Pair                // sorted by name, each name once
	Refused   []Refusal             // what is not in the set, or is in it as it was before; sorted by file
	Warnings  []Warning             // what is in the set but will not please its users; sorted by file

	// Private is set when a template or a drop-in may not be read by everybody: then
	// nothing that is made of it may be.
	Private bool

	// ID names the content, and whether it is private: two sets of the same ID differ in Refused and Warnings at most.
	ID string
}

// A Refusal says why a file is not used. Where an earlier state of it was good, that one
// stays in use.
type Refusal struct{ File, Reason string }

// A Warning says what is wrong with a file that is used.
type Warning struct{ File, Reason string }

// Files are the files of a Config. Load is for one goroutine at a time; Run may go on meanwhile.
type Files struct {
	cfg     Config
	changed chan struct{} // holds one token when there is something new to load

	// What was good the last time that it was read.
	templates map[string]parsed  // by path; "" for the built-in one
	pairs     map[string]checked // by name
	fragments map[string]string  // by path

	quiet, noisy, look time.Duration
	newWatcher         func() (*fsnotify.Watcher, error)
}

type parsed struct {
	text     string
	template *templates.Template
}

const (
	// quiet is how long the files must have been left alone before they are read: an
	// editor, cp or certbot changes several in a row. noisy bounds that wait.
	quiet = 25 * time.Millisecond
	noisy = 500 * time.Millisecond
	// look is how often files are compared with how they were. Events are hints: network
	// file systems send none, and inotify has limits.
	look = 5 * time.Second
)

// New prepares to read the files; it does not touch them.
func New(cfg Config) *Files {
	return &Files{
		cfg: cfg, changed: make(chan struct{}, 1),
		templates: map[string]parsed{}, pairs: map[string]checked{}, fragments: map[string]string{},
		quiet: quiet, noisy: noisy, look: look, newWatcher: fsnotify.NewWatcher,
	}
}

// Changed gives a token when the files may have changed since the last one. Loading them
// is the only way to know.
func (f *Files) Changed() <-chan struct{} { return f.changed }

// Load reads all files. A template that cannot be used is an error, which begins with the
// template's path and line, and there is no set: without its template there is no
// configuration. Anything else that is wrong is in the set's Refused.
func (f *Files) Load() (*Set, error) {
	id := sha256.New()
	s := &Set{}
	var err error
	if s.Templates, err = f.loadTemplates(s, id); err != nil {
		return nil, err
	}
	f.loadDropIns(s)
	f.loadPairs(s, time.Now())
	for _, d := range s.DropIns {
		sign(id, d.Path, d.Content)
	}
	for _, p := range s.Pairs {
		sign(id, p.Name, string(p.PEM))
	}
	if s.Private {
		sign(id, "private")
	}
	s.ID = hex.EncodeToString(id.Sum(nil)[:8])
	return s, nil
}

func (f *Files) loadTemplates(s *Set, id hash.Hash) ([]*templates.Template, error) {
	if len(f.cfg.Templates) == 0 {
		t, err := f.parse("", f.cfg.Proxy, templates.Builtin)
		return []*templates.Template{t}, err
	}
	list := make([]*templates.Template, len(f.cfg.Templates))
	for i, path := range f.cfg.Templates {
		text, err := readText(path)
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", path, err)
		}
		list[i], err = f.parse(path, text, func(text string) (*templates.Template, error) { return templates.Parse(path, text) })
		if err != nil {
			return nil, err
		}
		sign(id, path, text)
		s.Private = s.Private || private(path)
	}
	return list, nil
}

// parse parses what has changed since the last time: files are read after each change of
// the output too, which is after each change of the catalog.
func (f *Files) parse(path, text string, by func(string) (*templates.Template, error)) (*templates.Template, error) {
	if p, ok := f.templates[path]; ok && p.text == text {
		return p.template, nil
	}
	t, err := by(text)
	if err == nil {
		f.templates[path] = parsed{text, t}
	}
	return t, err
}

// sign adds texts to a hash so that no other texts give the same.
func sign(id hash.Hash, texts ...string) {
	for _, t := range texts {
		fmt.Fprintf(id, "%d %s", len(t), t)
	}
}

func (s *Set) refuse(file string, err error) {
	s.Refused = append(s.Refused, Refusal{File: file, Reason: err.Error()})
}
