package inputs

import (
	"maps"
	"path/filepath"
	"slices"

	"rollcall/internal/templates"
)

// loadDropIns reads the fragments. One that is bad stays as it was when it was good; one
// that is removed goes.
func (f *Files) loadDropIns(s *Set) {
	if f.cfg.DropIn == "" {
		return
	}
	suffix := ".conf"
	if f.cfg.Proxy == "haproxy" {
		suffix = ".cfg"
	}
	names, err := entries(f.cfg.DropIn)
	if err != nil {
		s.refuse(f.cfg.DropIn, err)
		for _, path := range slices.Sorted(maps.Keys(f.fragments)) {
			s.DropIns = append(s.DropIns, templates.Fragment{Path: path, Content: f.fragments[path]})
		}
		return
	}
	good := map[string]string{}
	for _, name := range names {
		if filepath.Ext(name) != suffix {
			continue
		}
		path := filepath.Join(f.cfg.DropIn, name)
		text, err := readText(path)
		if err != nil {
			s.refuse(path, err)
			var ok bool
			if text, ok = f.fragments[path]; !ok {
				continue
			}
		}
		good[path] = text
		s.Private = s.Private || private(path)
		s.DropIns = append(s.DropIns, templates.Fragment{Path: path, Content: text})
	}
	f.fragments = good
}
