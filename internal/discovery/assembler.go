package discovery

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// An Assembler turns the keys below one prefix, as they come and go, into
// catalogs. It decodes each value once; a change costs what changed plus one
// copied list of pointers, whatever the catalog holds. Not safe for concurrent use.
type Assembler struct {
	prefix string // "/services/", with the closing slash: "/services2" is not below it

	entries map[string]*entry  // by "service/instance"
	refused map[string]Refusal // by key

	changed map[string]map[string]*Instance // service → instance → its new state, nil if gone
	latest  *Catalog
	refusal bool // refused changed since latest
}

// An entry is all that is known under one instance's name: the value of the key
// itself, or the fields below it. A key of its own beats a directory of the same name.
type entry struct {
	leaf   *leaf
	fields map[string]leaf
}

type leaf struct {
	value    string
	revision int64
}

// NewAssembler starts with an empty catalog below prefix.
func NewAssembler(prefix string) *Assembler {
	return &Assembler{
		prefix:  prefix + "/",
		entries: map[string]*entry{},
		refused: map[string]Refusal{},
		changed: map[string]map[string]*Instance{},
		latest:  &Catalog{},
	}
}

// Put says that key now has this value, since the given revision.
func (a *Assembler) Put(key string, value []byte, revision int64) {
	service, name, field, ok := a.split(key)
	if !ok {
		a.refuse(Refusal{Key: key, Reason: "key is not SERVICE/INSTANCE below the prefix", Revision: revision})
		return
	}
	id := service + "/" + name
	e := a.entries[id]
	if e == nil {
		e = &entry{}
		a.entries[id] = e
	}
	v := leaf{string(value), revision}
	if field == "" {
		e.leaf = &v
	} else {
		if e.fields == nil {
			e.fields = map[string]leaf{}
		}
		e.fields[field] = v
	}
	a.assemble(service, name, e)
}

// Delete says that key is gone.
func (a *Assembler) Delete(key string) {
	service, name, field, ok := a.split(key)
	if !ok {
		a.accept(key)
		return
	}
	id := service + "/" + name
	e := a.entries[id]
	if e == nil {
		return
	}
	if field == "" {
		e.leaf = nil
	} else {
		delete(e.fields, field)
	}
	if e.leaf == nil && len(e.fields) == 0 {
		delete(a.entries, id)
	}
	a.assemble(service, name, e)
}

// split gives the parts of a key: <prefix>/<service>/<instance>[/<field>].
func (a *Assembler) split(key string) (service, name, field string, ok bool) {
	rest, ok := strings.CutPrefix(key, a.prefix)
	if !ok {
		return "", "", "", false
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return "", "", "", false
	}
	if len(parts) == 3 {
		field = parts[2]
	}
	return parts[0], parts[1], field, true
}

// assemble works out what an entry amounts to after one of its keys changed.
func (a *Assembler) assemble(service, name string, e *entry) {
	key := a.prefix + service + "/" + name
	var inst *Instance
	r := Refusal{Key: key}
	var err error
	switch {
	case e.leaf != nil:
		r.Revision = e.leaf.revision
		inst, err = DecodeRecord(service, name, []byte(e.leaf.value))
	case len(e.fields) > 0:
		fields := make(map[string]string, len(e.fields))
		for f, v := range e.fields {
			fields[f] = v.value
			r.Revision = max(r.Revision, v.revision)
		}
		inst, r.Incomplete, err = decodeDirectory(service, name, fields)
	}
	if err != nil {
		r.Reason = err.Error()
		a.refuse(r)
		inst = nil
	} else {
		a.accept(key)
	}
	if inst != nil {
		inst.Revision = r.Revision
	}
	if a.changed[service] == nil {
		a.changed[service] = map[string]*Instance{}
	}
	a.changed[service][name] = inst
}

func (a *Assembler) refuse(r Refusal) {
	a.refused[r.Key] = r
	a.refusal = true
}

func (a *Assembler) accept(key string) {
	if _, ok := a.refused[key]; ok {
		delete(a.refused, key)
		a.refusal = true
	}
}

// Catalog gives the picture at this revision. Whatever did not change since the
// last one is shared with it.
func (a *Assembler) Catalog(revision int64) *Catalog {
	c := &Catalog{Revision: revision, Services: a.latest.Services, Refused: a.latest.Refused}
	services := map[string]*Service{}
	for name, changes := range a.changed {
		var before []*Instance
		if old, ok := c.Service(name); ok {
			before = old.Instances
		}
		services[name] = nil
		if after := merge(before, changes, func(i *Instance) string { return i.Name }); len(after) > 0 {
			services[name] = &Service{Name: name, Instances: after}
		}
	}
	if len(services) > 0 {
		c.Services = merge(c.Services, services, func(s *Service) string { return s.Name })
	}
	if a.refusal {
		c.Refused = slices.SortedFunc(maps.Values(a.refused), func(x, y Refusal) int { return cmp.Compare(x.Key, y.Key) })
	}
	clear(a.changed)
	a.refusal = false
	a.latest = c
	return c
}

// merge gives a sorted list in which every changed name stands with its new state,
// or not at all where that is nil. The list it was given stays as it is.
func merge[T any](before []*T, changes map[string]*T, name func(*T) string) []*T {
	fresh := make([]*T, 0, len(changes))
	for _, x := range changes {
		if x != nil {
			fresh = append(fresh, x)
		}
	}
	slices.SortFunc(fresh, func(x, y *T) int { return cmp.Compare(name(x), name(y)) })
	after := make([]*T, 0, len(before)+len(fresh))
	for _, x := range before {
		if _, touched := changes[name(x)]; touched {
			continue
		}
		for len(fresh) > 0 && name(fresh[0]) < name(x) {
			after, fresh = append(after, fresh[0]), fresh[1:]
		}
		after = append(after, x)
	}
	return append(after, fresh...)
}
