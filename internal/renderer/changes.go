package renderer

import (
	"cmp"
	"reflect"
	"slices"

	"rollcall/internal/discovery"
)

// maxChanges bounds the changes that are told one by one.
const maxChanges = 100

// A Kind says in what way something changed.
type Kind string

// The kinds of changes.
const (
	Added    Kind = "added"    // an instance
	Removed  Kind = "removed"  // an instance
	Changed  Kind = "changed"  // an instance
	Resolved Kind = "resolved" // the address behind a host name, or an empty service was forgotten
	Edited   Kind = "inputs"   // a template, drop-in or certificate
	Server   Kind = "server"   // nothing that was desired: the server or its file
)

// A Change is one reason for a reload.
type Change struct {
	Kind     Kind   `json:"kind"`
	Service  string `json:"service,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Revision is that of the instance's newest key; of one that was removed, the
	// catalog's, before which that happened.
	Revision int64  `json:"revision,omitempty"`
	Key      string `json:"key,omitempty"`  // in etcd
	File     string `json:"file,omitempty"` // of an input
}

// changes lists what makes one rendering differ from an earlier one, the newest
// first, and counts all. before may be nil.
func (r *Renderer) changes(before, after *rendering) (list []Change, total int) {
	good := &discovery.Catalog{}
	if before != nil {
		good = before.catalog
		for _, file := range edited(before.inputs, after.inputs) {
			list = append(list, Change{Kind: Edited, File: file})
		}
	}
	covered := r.cfg.Routing.Covers()
	var newest Change
	note := func(kind Kind, i *discovery.Instance, revision int64) {
		if total++; len(list) >= maxChanges && revision <= newest.Revision {
			return
		}
		c := Change{Kind: kind, Service: i.Service, Instance: i.Name, Revision: revision, Key: r.cfg.Prefix + "/" + i.ID()}
		if len(list) < maxChanges {
			list = append(list, c)
		}
		if revision > newest.Revision {
			newest = c
		}
	}
	total = len(list)
	pairs(good, after.catalog, func(name string, was, is *discovery.Service) {
		if was == is || covered != nil && !slices.Contains(covered, name) {
			return
		}
		eachInstance(was, is, func(was, is *discovery.Instance) {
			switch {
			case is == nil:
				note(Removed, was, after.catalog.Revision)
			case was == nil:
				note(Added, is, is.Revision)
			case !sameInstance(was, is):
				note(Changed, is, is.Revision)
			}
		})
	})
	slices.SortStableFunc(list, func(x, y Change) int {
		switch {
		case x.Revision > y.Revision:
			return -1
		case x.Revision < y.Revision:
			return 1
		}
		return 0
	})
	switch {
	case newest.Kind != "" && list[0] != newest:
		list = slices.Insert(list, 0, newest)[:min(len(list)+1, maxChanges)]
	case total > 0:
	case before != nil && before.candidate.Generation != after.candidate.Generation:
		return []Change{{Kind: Resolved}}, 1
	default:
		return []Change{{Kind: Server}}, 1
	}
	return list, total
}

// edited names the inputs that are not the same; "" stands for a template.
func edited(before, after *input) []string {
	if before.ID == after.ID {
		return nil
	}
	var files []string
	differ := func(was, is map[string]string) {
		for name, text := range is {
			if old, ok := was[name]; !ok || old != text {
				files = append(files, name)
			}
		}
		for name := range was {
			if _, ok := is[name]; !ok {
				files = append(files, name)
			}
		}
	}
	differ(fragments(before), fragments(after))
	differ(pems(before), pems(after))
	if len(files) == 0 {
		return []string{""}
	}
	slices.Sort(files)
	return files
}

func fragments(in *input) map[string]string {
	m := map[string]string{}
	for _, d := range in.DropIns {
		m[d.Path] = d.Content
	}
	return m
}

func pems(in *input) map[string]string {
	m := map[string]string{}
	for _, c := range in.certificates {
		m["certificate of "+cmp.Or(c.Name, "default")] = c.File
	}
	return m
}

// pairs calls visit for each service of two catalogs, with nil where it is not.
func pairs(x, y *discovery.Catalog, visit func(name string, a, b *discovery.Service)) {
	merge(x.Services, y.Services, func(s *discovery.Service) string { return s.Name }, func(a, b *discovery.Service) {
		if a != nil {
			visit(a.Name, a, b)
		} else {
			visit(b.Name, a, b)
		}
	})
}

// eachInstance calls visit for each instance of two versions of a service, which may be nil.
func eachInstance(x, y *discovery.Service, visit func(a, b *discovery.Instance)) {
	instances := func(s *discovery.Service) []*discovery.Instance {
		if s == nil {
			return nil
		}
		return s.Instances
	}
	merge(instances(x), instances(y), func(i *discovery.Instance) string { return i.Name }, visit)
}

// merge calls visit for each name in two sorted lists, with nil where it is not.
func merge[T any](x, y []*T, name func(*T) string, visit func(a, b *T)) {
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0] != y[0] && name(x[0]) < name(y[0]):
			visit(x[0], nil)
			x = x[1:]
		case len(x) == 0 || x[0] != y[0] && name(y[0]) < name(x[0]):
			visit(nil, y[0])
			y = y[1:]
		default:
			visit(x[0], y[0])
			x, y = x[1:], y[1:]
		}
	}
}

// sameService says whether two versions of a service are the same. Catalogs share
// what has not changed, except when etcd had to be read anew.
func sameService(x, y *discovery.Service) bool {
	if x == y {
		return true
	}
	return x != nil && y != nil && slices.EqualFunc(x.Instances, y.Instances, sameInstance)
}

// sameInstance says whether two records come to the same; one may be newer.
func sameInstance(x, y *discovery.Instance) bool {
	if x == y {
		return true
	}
	a, b := *x, *y
	a.Revision, a.Lease, b.Revision, b.Lease = 0, 0, 0, 0
	return reflect.DeepEqual(a, b)
}
