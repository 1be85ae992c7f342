package discovery

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// An Assembler turns the keys below one prefix, as they come and go, into
// catalogs. It decodes each value once, however many keys changed since the last
// catalog; a change costs what changed plus a copied list of pointers to the
// service's instances and one to the services. Not safe for concurrent use.
type Assembler struct {
	prefix string // "/services/", with the closing slash: "/services2" is not below it

	entries map[string]*entry  // by "service/instance"
	refused map[string]Refusal // by key

	changed map[string]map[string]struct{} // service → instances to be assembled anew
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
	lease    int64
}

// NewAssembler starts with an empty catalog below prefix.
func NewAssembler(prefix string) *Assembler {
	return &Assembler{
		prefix:  prefix + "/",
		entries: map[string]*entry{},
		refused: map[string]Refusal{},
		changed: map[string]map[string]struct{}{},
		latest:  &Catalog{},
	}
}

// Put says that key now has this value, since the given revision, and hangs on this
// lease; 0 for none.
func (a *Assembler) Put(key string, value []byte, revision, lease int64) {
	service, name, field, ok := a.split(key)
	if !ok {
		a.refuse(Refusal{Key: key, Reason: "key is not SERVICE/INSTANCE below the prefix", Revision: revision})
		return
	}
	id := a.id(key, service, name)
	e := a.entries[id]
	if e == nil {
		e = &entry{}
		a.entries[id] = e
	}
	v := leaf{string(value), revision, lease}
	if field == "" {
		e.leaf = &v
	} else {
		if e.fields == nil {
			e.fields = map[string]leaf{}
		}
		e.fields[field] = v
	}
	a.touch(service, name, field)
}

// Delete says that key is gone.
func (a *Assembler) Delete(key string) {
	service, name, field, ok := a.split(key)
	if !ok {
		a.accept(key)
		return
	}
	id := a.id(key, service, name)
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
	a.touch(service, name, field)
}

// id gives "service/instance", as the part of the key that it is.
func (a *Assembler) id(key, service, name string) string {
	return key[len(a.prefix):][:len(service)+1+len(name)]
}

// touch notes that an instance may have changed. A field behind a key of the
// instance's own changes nothing.
func (a *Assembler) touch(service, name, field string) {
	if e := a.entries[service+"/"+name]; field != "" && e != nil && e.leaf != nil {
		return
	}
	if a.changed[service] == nil {
		a.changed[service] = map[string]struct{}{}
	}
	a.changed[service][name] = struct{}{}
}

// split gives the parts of a key: <prefix>/<service>/<instance>[/<field>].
func (a *Assembler) split(key string) (service, name, field string, ok bool) {
	rest, ok := strings.CutPrefix(key, a.prefix)
	if !ok {
		return "", "", "", false
	}
	parts := strings.SplitN(rest, "/", 4)
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return "", "", "", false
	}
	if len(parts) == 3 {
		field = parts[2]
	}
	return parts[0], parts[1], field, true
}

// assemble works out what the keys of an instance amount to: nil if it is gone or refused.
func (a *Assembler) assemble(service, name string) *Instance {
	r := Refusal{Key: a.prefix + service + "/" + name}
	e := a.entries[service+"/"+name]
	var inst *Instance
	var lease int64
	var err error
	switch {
	case e == nil:
		a.accept(r.Key)
		return nil
	case e.leaf != nil:
		r.Revision, lease = e.leaf.revision, e.leaf.lease
		inst, err = DecodeRecord(service, name, []byte(e.leaf.value))
		e.leaf.value = "" // nobody reads it again; a refused one may be large
	default:
		fields := make(map[string]string, len(e.fields))
		for f, v := range e.fields {
			fields[f] = v.value
			if v.revision > r.Revision || v.revision == r.Revision && v.lease > lease {
				r.Revision, lease = v.revision, v.lease
			}
		}
		inst, r.Incomplete, err = decodeDirectory(service, name, fields)
	}
	if err != nil {
		r.Reason = err.Error()
		a.refuse(r)
		return nil
	}
	a.accept(r.Key)
	inst.Revision, inst.Lease = r.Revision, lease
	return inst
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
	for name, instances := range a.changed {
		changes := make(map[string]*Instance, len(instances))
		for instance := range instances {
			changes[instance] = a.assemble(name, instance)
		}
		var before []*Instance
		if old, ok := c.Service(name); ok {
			before = old.Instances
		}
		after := merge(before, changes, func(i *Instance) string { return i.Name })
		switch {
		case slices.Equal(before, after): // a refused record came, changed or went
		case len(after) == 0:
			services[name] = nil
		default:
			services[name] = &Service{Name: name, Instances: after}
		}
	}
	if len(services) > 0 {
		c.Services = merge(c.Services, services, func(s *Service) string { return s.Name })
	}
	if a.refusal {
		c.Refused = slices.SortedFunc(maps.Values(a.refused), func(x, y Refusal) int { return cmp.Compare(x.Key, y.Key) })
	}
	// Not cleared: a map walks all the room it ever had, and the first catalog fills it.
	a.changed = map[string]map[string]struct{}{}
	a.refusal = false
	a.latest = c
	return c
}

// merge gives a sorted list in which every changed name stands with its new state,
// or not at all where that is nil. The list it was given stays as it is.
func merge[T any](before []*T, changes map[string]*T, name func(*T) string) []*T {
	after := make([]*T, 0, len(before)+len(changes))
	for _, n := range slices.Sorted(maps.Keys(changes)) {
		at, found := slices.BinarySearchFunc(before, n, func(x *T, n string) int { return cmp.Compare(name(x), n) })
		after = append(after, before[:at]...)
		if x := changes[n]; x != nil {
			after = append(after, x)
		}
		if found {
			at++
		}
		before = before[at:]
	}
	return append(after, before...)
}
