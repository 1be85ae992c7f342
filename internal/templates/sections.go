package templates

import (
	"fmt"
	"reflect"
	"strconv"
	"text/template"

	"rollcall/internal/discovery"
)

// A Section is what a template of a section is given.
type Section struct {
	Item any // the one that the section is about
	With any // what all sections of the list have in common
}

// sections is the function of the same name in one rendering. It remembers its texts for
// the next, so that a change costs what has changed:
//
//	{{range sections "upstream" .Upstreams (dict "Balance" "leastconn")}}{{.}}{{end}}
//
// gives the text of the template "upstream" for each item of the list. It is executed
// with a Section and sees nothing else, so the text can only be another one if Item or
// With are. Generation and revision are new in each rendering: with one of them, all is
// made again. What the last rendering that succeeded has not used is forgotten.
type sections struct {
	earlier, now map[call]*texts
	calls        map[string]int
	parsed       *template.Template
	limit        int // bytes of a list
	inside       bool
}

// A call is the nth for a template in one rendering.
type call struct {
	name string
	n    int
}

type texts struct {
	with any
	of   map[string]text // by what identifies the item
}

type text struct {
	item    any
	content string
}

// memory is what the last rendering leaves for the next. Neither changes it, so that
// several may read it at once.
type memory struct {
	texts map[call]*texts
	size  int // bytes of output
}

// begin readies a template for one rendering. Its functions are its own, because they remember.
func (t *Template) begin() (*template.Template, *sections, error) {
	parsed, err := t.parsed.Clone()
	if err != nil {
		return nil, nil, err
	}
	s := &sections{now: map[call]*texts{}, calls: map[string]int{}, parsed: parsed, limit: t.limit}
	if m := t.memory.Load(); m != nil {
		s.earlier = m.texts
	}
	return parsed.Funcs(s.functions()), s, nil
}

func (s *sections) functions() template.FuncMap { return template.FuncMap{"sections": s.render} }

// render gives the text of the named template for each item of a list.
func (s *sections) render(name string, list, with any) ([]string, error) {
	items := reflect.ValueOf(list)
	if k := items.Kind(); k != reflect.Slice && k != reflect.Array {
		return nil, fmt.Errorf("%T is no list", list)
	}
	parsed := s.parsed.Lookup(name)
	switch {
	case parsed == nil:
		return nil, fmt.Errorf("no template %q is defined", name)
	case s.inside: // without an end, this would end the program
		return nil, fmt.Errorf("a section has no sections: %q is called from one", name)
	}
	s.inside = true
	defer func() { s.inside = false }()

	at := call{name, s.calls[name]}
	s.calls[name]++
	now := &texts{with: with, of: make(map[string]text, items.Len())}
	s.now[at] = now
	var before map[string]text
	if t := s.earlier[at]; t != nil && reflect.DeepEqual(t.with, with) {
		before = t.of
	}
	contents := make([]string, items.Len())
	out, size := limitedBuffer{limit: s.limit}, 0
	for i := range contents {
		item := items.Index(i).Interface()
		key := identity(item, i)
		known, ok := before[key]
		if !ok || !reflect.DeepEqual(known.item, item) {
			out.Reset()
			if err := parsed.Execute(&out, Section{item, with}); err != nil {
				return nil, placed(name, err)
			}
			known.content = out.String()
		}
		known.item = item // of the newest catalog: the older one can go
		now.of[key] = known
		contents[i] = known.content
		if size += len(known.content); size > s.limit {
			return nil, errTooLong(s.limit)
		}
	}
	return contents, nil
}

// identity finds an item again in a list that has become longer or shorter. Whether it
// is still the same is not judged by it.
func identity(item any, place int) string {
	switch x := item.(type) {
	case Upstream:
		return x.Name
	case *discovery.Service:
		return x.Name
	case Site:
		if len(x.Names) > 0 && !x.Redirect {
			return x.Names[0]
		}
	}
	return " " + strconv.Itoa(place) // no name holds a blank
}
