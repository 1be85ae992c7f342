package renderer

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// A rendering is one configuration and what has to be told about it.
type rendering struct {
	picture
	newest    *discovery.Catalog // the one that it is the answer to
	catalog   *discovery.Catalog // the one that it was made from: newest less what is quarantined
	inputs    *input
	resolved  int // the addresses' version
	candidate reload.Candidate
	places    map[string][]string // where the server keeps its members, by the upstreams' names
	// ahead says that the running server has other members by now than the files of the
	// candidate say.
	ahead bool
}

// A renderError says that templates and catalog do not go together.
type renderError struct{ error }

func (e *renderError) Unwrap() error { return e.error }

// render gives the configuration of a catalog.
func (r *Renderer) render(newest, c *discovery.Catalog, in *input) (*rendering, error) {
	a := r.plan(newest, c, in)
	if err := r.write(a, r.earlier()); err != nil {
		return nil, err
	}
	return a, nil
}

// compose does the work of render, and leaves no trace: it is also for configurations
// that are only tried. An error is a *renderError.
func (r *Renderer) compose(c *discovery.Catalog, in *input) (*rendering, error) {
	a := r.sketch(c, in)
	return a, r.write(a, r.earlier())
}

// plan works out what is to be served, without the files that say so.
func (r *Renderer) plan(newest, c *discovery.Catalog, in *input) *rendering {
	began := time.Now()
	a := r.sketch(c, in)
	r.resolver.used(began)
	a.newest = newest
	a.heldBack()
	return a
}

func (r *Renderer) sketch(c *discovery.Catalog, in *input) *rendering {
	a := &rendering{catalog: c, inputs: in, resolved: r.resolver.version()}
	var past []claim
	if r.good != nil {
		past = r.good.claims
	}
	base := r.cfg.Balancer
	base.DropIns, base.Certificates = in.DropIns, in.certificates
	if len(in.certificates) == 0 {
		base.ListenTLS = nil // no server listens with TLS and nothing to show
	}
	a.picture = r.router.route(c, past, base, r.resolver.address)
	return a
}

// earlier are the renderings whose files may be the same.
func (r *Renderer) earlier() []*rendering { return []*rendering{r.last, r.good, r.placed} }

// write makes the candidate. An error is a *renderError.
func (r *Renderer) write(a *rendering, earlier []*rendering) error {
	in := a.inputs
	assets, err := r.assets(&a.Balancer, in)
	if err != nil {
		return &renderError{err}
	}
	if n := len(in.Templates); n == 0 || n != len(r.cfg.Outputs) {
		return &renderError{fmt.Errorf("templates: there are %d for %d outputs", n, len(r.cfg.Outputs))}
	}
	outputs, err := templates.RenderAll(a.Balancer, in.Templates...)
	if err != nil {
		return &renderError{fmt.Errorf("render: %w", err)}
	}
	a.candidate = reload.Candidate{Generation: outputs[0].Generation, Assets: assets, Listen: listens(a.Balancer)}
	for n, out := range outputs {
		file := reload.File{Path: r.cfg.Outputs[n], Content: r.kept(n, out, earlier), Private: in.Private || r.cfg.Secret != ""}
		for _, o := range out.Origins {
			file.Origins = append(file.Origins, reload.Origin(o))
		}
		a.candidate.Files = append(a.candidate.Files, file)
	}
	if a.Control != "" && !slices.ContainsFunc(a.candidate.Files, func(f reload.File) bool { return says(f.Content, a.candidate.Generation) }) {
		return &renderError{fmt.Errorf("template %s does not answer {{.Generation}} at %s (hint: see the built-in one: render %s --print-template)",
			in.Templates[0].Name(), reload.GenerationPath, a.Proxy)}
	}
	if structure := outputs[0].Structure; structure != "" && a.Members != "" {
		a.places = a.Places()
		a.candidate.Members = &reload.Members{Structure: structure, Pools: r.pools.of(a.Balancer, a.places)}
	}
	return nil
}

// says looks for a word outside of comments. A server that has never heard of its
// generation is found out only when it was told to serve it.
func says(content []byte, word string) bool {
	for {
		before, after, ok := bytes.Cut(content, []byte(word))
		if !ok {
			return false
		}
		line := bytes.TrimSpace(before[bytes.LastIndexByte(before, '\n')+1:])
		if !bytes.HasPrefix(line, []byte("#")) {
			return true
		}
		if _, content, ok = bytes.Cut(after, []byte("\n")); !ok {
			return false
		}
	}
}

// kept gives an output's content. A later revision of the same is no reason to reload:
// the file keeps the revision that it was made from. What is on disk is only read
// while this process has put nothing there itself; the transaction compares anyway.
func (r *Renderer) kept(n int, out templates.Output, earlier []*rendering) []byte {
	fresh := true
	for _, e := range earlier {
		if e != nil && out.Same(e.candidate.Files[n].Content) {
			return e.candidate.Files[n].Content
		}
		fresh = fresh && e == nil
	}
	if fresh {
		if old, err := os.ReadFile(r.cfg.Outputs[n]); err == nil && out.Same(old) {
			return old
		}
	}
	return out.Content
}

// current says whether a rendering is still the answer, so that making it again would
// give the same.
func (r *Renderer) current(a *rendering, newest, c *discovery.Catalog, in *input) bool {
	if a == nil || a.ahead || a.newest != newest || !slices.Equal(a.catalog.Services, c.Services) || a.inputs.ID != in.ID || a.resolved != r.resolver.version() {
		return false
	}
	until := forgets(a.claims)
	return until.IsZero() || time.Now().Before(until)
}

// listens gives the addresses that the server will accept connections on.
func listens(b templates.Balancer) []string {
	list := slices.Concat(b.Listen, b.ListenTLS)
	for _, t := range b.TCP {
		list = append(list, t.Listen)
	}
	if b.Proxy == "apache" && b.Control != "" { // others have a socket for it
		list = append(list, b.Control)
	}
	return list
}
