package renderer

import (
	"bytes"
	"os"
)

// lookForEdits says which files are as neither the renderings before nor this one left
// them, once for each: somebody loses an edit, and should hear by whom. What is there
// before the first configuration is served is not this process's.
func (r *Renderer) lookForEdits(a *rendering) {
	if r.good == nil {
		return
	}
	for n, path := range r.cfg.Outputs {
		content, err := os.ReadFile(path)
		known := false
		for _, of := range []*rendering{a, r.good, r.placed} {
			known = known || of != nil && err == nil && bytes.Equal(content, of.candidate.Files[n].Content)
		}
		if !known && !r.edited[path] {
			r.cfg.Logger.Warn("configuration file was changed by somebody else; putting it back", "file", path)
		}
		r.edited[path] = !known
	}
}
