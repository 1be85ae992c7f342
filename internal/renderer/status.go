package renderer

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"rollcall/internal/discovery"
	"rollcall/internal/reload"
)

const (
	// maxHistory is how many reloads are remembered.
	maxHistory = 10
	// maxDiff bounds, in bytes, the difference that is shown, and maxCompared the file
	// for which one is worked out.
	maxDiff     = 64 << 10
	maxCompared = 8 << 20
)

// Status is what `render status` shows.
type Status struct {
	ID      string   `json:"id"`
	Proxy   string   `json:"proxy"`
	Outputs []string `json:"outputs"`

	// Desired is the newest catalog's configuration, less what is quarantined; Running
	// the one that the server was last proven to serve.
	Desired Configuration `json:"desired"`
	Running Configuration `json:"running"`
	// OnDisk is the generation of the files as they are, or "edited", "missing" or
	// "unreadable".
	OnDisk  string `json:"on_disk,omitempty"`
	Drained int64  `json:"drained"`
	// Stale says that etcd has not answered since the start: what is served is what
	// a cache remembers.
	Stale bool `json:"stale,omitempty"`

	// Reloads are those since the start; History has the last ones, the newest first.
	Reloads    int       `json:"reloads"`
	LastReload time.Time `json:"last_reload,omitzero"`
	History    []Reload  `json:"history,omitempty"`
	// Changes lists what the last reload was for, the newest first; at most 100.
	Changes []Change `json:"changes,omitempty"`
	// Diff is the unified difference that the last reload made to the files; at most 64 KiB.
	Diff       string `json:"diff,omitempty"`
	OldWorkers int    `json:"old_workers"`

	// Members counts those that were changed in the running server, without a reload, and
	// LastMembers says when it was last and how long it took. Leaving names those that get
	// no new requests, as "service/instance", while one that began before may be running.
	Members     int       `json:"members_changed"`
	LastMembers time.Time `json:"last_members_changed,omitzero"`
	MembersTook float64   `json:"members_took_seconds,omitempty"`
	Leaving     []string  `json:"leaving,omitempty"`

	// Error says why what is desired is not in service, or, where Unwritten is set, why the
	// files do not say what the running server has.
	Error      string    `json:"error,omitempty"`
	Unwritten  bool      `json:"unwritten,omitempty"`
	ErrorSince time.Time `json:"error_since,omitzero"`
	Retry      *Retry    `json:"retry,omitempty"` // nil while nothing is wrong

	Services   int                 `json:"services"`
	Instances  int                 `json:"instances"`
	Refused    []discovery.Refusal `json:"refused,omitempty"`
	Unresolved map[string]string   `json:"unresolved,omitempty"`
	// Skipped names the instances, as "service/instance", that are in the catalog
	// but not routed to; Held those that are routed to although their records are gone,
	// or lead elsewhere by now. Both are sorted.
	Skipped []string `json:"skipped,omitempty"`
	Held    []string `json:"held,omitempty"`
	// SkippedReasons says why not, by the names in Skipped.
	SkippedReasons map[string]string `json:"skipped_reasons,omitempty"`
	// Quarantined are the services that stay as they were last in service, sorted.
	Quarantined []Quarantined `json:"quarantined,omitempty"`
	// RefusedInputs are files of the operator's that are not used as they are now;
	// InputWarnings those that are used, and are not quite right.
	RefusedInputs []RefusedInput `json:"refused_inputs,omitempty"`
	InputWarnings []RefusedInput `json:"input_warnings,omitempty"`
}

// A Configuration is named by its generation and the revision it was made from.
type Configuration struct {
	Generation string    `json:"generation"`
	Revision   int64     `json:"revision"`
	Since      time.Time `json:"since,omitzero"` // when its generation came into service
}

// A Reload is one configuration that came into service.
type Reload struct {
	At         time.Time `json:"at"`
	Took       float64   `json:"took_seconds"` // from the decision to the confirmation
	Generation string    `json:"generation"`
	Revision   int64     `json:"revision"`
	Cause      Change    `json:"cause"`   // the newest change
	Changes    int       `json:"changes"` // all that it was for
}

// A Retry says when what failed is tried again, if nothing changes before.
type Retry struct {
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt"` // 1 for the first retry
}

// A Quarantined service has newest records that are refused.
type Quarantined struct {
	Service string    `json:"service"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	Next    time.Time `json:"next"` // when it is tried again, if it does not change before
}

// A RefusedInput says what is wrong with a file.
type RefusedInput struct {
	File   string    `json:"file,omitempty"` // "" where the reason says it
	Reason string    `json:"reason"`
	Since  time.Time `json:"since,omitzero"`
}

// note takes into the status, with the mutex held, that a rendering is in service.
func (r *Renderer) note(a *rendering, o reload.Outcome, took time.Duration, now time.Time) {
	s := &r.status
	s.Desired = Configuration{Generation: a.candidate.Generation, Revision: a.newest.Revision}
	since := s.Running.Since
	if s.Running.Generation != s.Desired.Generation || o.Reloaded {
		since = now
	}
	s.Running = s.Desired
	s.Running.Since = since
	if !a.ahead || !s.Unwritten {
		s.Error, s.ErrorSince, s.Retry, s.Unwritten = "", time.Time{}, nil, false
	}
	s.SkippedReasons = a.why
	s.Skipped, s.Held = slices.Sorted(slices.Values(a.skipped)), slices.Sorted(slices.Values(a.held))
	r.metrics.skipped.Set(float64(len(s.Skipped)))
	r.metrics.held.Set(float64(len(s.Held)))
	r.noteCatalog(a.newest)
	if o.Changed {
		r.replaced, r.diff = nil, nil
		if r.good != nil {
			r.replaced = r.good.candidate.Files
		}
	}
	if o.Members > 0 {
		s.Members += o.Members
		s.LastMembers, s.MembersTook = now, took.Seconds()
	}
	if !o.Reloaded {
		return
	}
	var total int
	s.Changes, total = r.changes(r.good, a)
	s.Reloads++
	s.LastReload = now
	s.History = append([]Reload{{
		At: now, Took: took.Seconds(), Generation: a.candidate.Generation, Revision: a.newest.Revision,
		Cause: s.Changes[0], Changes: total,
	}}, s.History[:min(len(s.History), maxHistory-1)]...)
}

// noteFailure takes into the status, with the mutex held, why it is not. a is nil
// when there is not even a configuration.
func (r *Renderer) noteFailure(c *discovery.Catalog, a *rendering, reason string, now time.Time) {
	s := &r.status
	s.Desired = Configuration{Revision: c.Revision}
	if a != nil {
		s.Desired.Generation = a.candidate.Generation
	}
	if s.Error == "" {
		s.ErrorSince = now
	}
	s.Unwritten = r.good != nil && r.good.newest == c
	s.Error = reason
	r.noteCatalog(c)
}

func (r *Renderer) noteCatalog(c *discovery.Catalog) {
	s := &r.status
	s.Services, s.Instances, s.Refused, s.Stale = len(c.Services), c.Len(), c.Refused, c.Stale
	s.Quarantined = nil
	for _, name := range slices.Sorted(maps.Keys(r.quarantine)) {
		q := r.quarantine[name]
		s.Quarantined = append(s.Quarantined, Quarantined{Service: name, Reason: describe(q.reason), Since: q.since, Next: q.next})
	}
	s.RefusedInputs, s.InputWarnings = r.inputs.refused()
	r.metrics.quarantined.Set(float64(len(s.Quarantined)))
	r.metrics.badInputs.Set(float64(len(s.RefusedInputs)))
}

// refused lists what is wrong with the inputs as they are now.
func (f *feed) refused() (refused, warned []RefusedInput) {
	if t := f.trial; t != nil {
		refused = append(refused, RefusedInput{Reason: describe(t.reason), Since: t.since})
	}
	if f.newest != nil {
		for _, x := range f.newest.Refused {
			refused = append(refused, RefusedInput{File: x.File, Reason: x.Reason})
		}
		for _, x := range f.newest.Warnings {
			warned = append(warned, RefusedInput{File: x.File, Reason: x.Reason})
		}
	}
	return refused, warned
}

func (r *Renderer) retrying(at time.Time, attempt int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Retry = &Retry{At: at, Attempt: attempt}
}

// Status gives a picture of the moment. It reads the files.
func (r *Renderer) Status() Status {
	r.mu.Lock()
	s, known := r.status, []*rendering{r.good, r.last}
	r.mu.Unlock()
	s.OnDisk = onDisk(r.cfg.Outputs, known)
	s.Diff = r.lastDiff()
	s.OldWorkers = r.oldWorkers()
	for host, err := range r.resolver.unresolved() {
		if s.Unresolved == nil {
			s.Unresolved = map[string]string{}
		}
		s.Unresolved[host] = err.Error()
	}
	return s
}

// onDisk says in a word what the files are like: which of the renderings they are.
func onDisk(paths []string, known []*rendering) string {
	contents := make([][]byte, len(paths))
	for n, path := range paths {
		var err error
		if contents[n], err = os.ReadFile(path); errors.Is(err, os.ErrNotExist) {
			return "missing"
		} else if err != nil {
			return "unreadable"
		}
	}
	for _, a := range known {
		if a != nil && slices.EqualFunc(contents, a.candidate.Files, func(content []byte, f reload.File) bool { return bytes.Equal(content, f.Content) }) {
			return a.candidate.Generation
		}
	}
	return "edited"
}

// lastDiff gives the difference that the last configuration made, which is worked out
// when somebody asks.
func (r *Renderer) lastDiff() string {
	r.mu.Lock()
	known, good, replaced := r.diff, r.good, r.replaced
	r.mu.Unlock()
	if known != nil {
		return *known
	}
	var text strings.Builder
	if len(replaced) > 0 && good.inputs.Private {
		text.WriteString("not shown: it is made of files that not everybody may read\n")
		replaced = nil
	}
	for n := range replaced {
		text.WriteString(r.difference(replaced[n].Path, replaced[n].Content, good.candidate.Files[n].Content))
	}
	said := text.String()
	if len(said) > maxDiff {
		said = said[:strings.LastIndexByte(said[:maxDiff], '\n')+1] + "… and more\n"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.good == good {
		r.diff = &said
	}
	return said
}

func (r *Renderer) difference(path string, before, after []byte) string {
	if max(len(before), len(after)) > maxCompared {
		return path + " is too long to be compared\n"
	}
	return r.hide(diff.Diff(path+" (before)", before, path+" (now)", after))
}

// hide gives a text without the secret that is in the files.
func (r *Renderer) hide(text []byte) string {
	if r.cfg.Secret == "" {
		return string(text)
	}
	return strings.ReplaceAll(string(text), r.cfg.Secret, "SECRET")
}

// Ready gives nil while the newest catalog that was looked at is served, and
// otherwise the reason why not.
func (r *Renderer) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.status.Error != "":
		return errors.New(firstLine(r.status.Error))
	case r.status.Running.Generation == "":
		return errors.New("no configuration is in service yet")
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
