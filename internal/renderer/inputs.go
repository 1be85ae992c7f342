package renderer

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"rollcall/internal/inputs"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// Inputs are the operator's files: templates, drop-ins and certificates.
type Inputs interface {
	Load() (*inputs.Set, error)
	Changed() <-chan struct{}
	Run(ctx context.Context) error
}

// An input is a set as the renderer uses it.
type input struct {
	*inputs.Set
	certificates []templates.Certificate
	assets       []reload.Asset
}

// A feed keeps apart what the operator's files say now and what was last found good
// of them: an edit that is wrong changes nothing, and is tried again, but not all the time.
type feed struct {
	source Inputs
	dir    string // of the assets
	log    *slog.Logger

	newest *input // nil until it could be loaded once
	good   *input // was in service last; nil if none was
	err    error  // why what is there now cannot be loaded; nil if it could
	trial  *trial // of what is not used at present; nil if the newest is
}

// A trial is something that was refused, and when to try it again.
type trial struct {
	of     string // names it
	reason error
	since  time.Time
	times  int
	next   time.Time
}

// Refused things are tried again after trialMin, then each time after twice as long.
const (
	trialMin = 10 * time.Second
	trialMax = 10 * time.Minute
)

// refused gives the trial of something that was refused once more, or for the first time.
func (t *trial) refused(of string, reason error, now time.Time) *trial {
	again := trial{of: of, reason: reason, since: now}
	if t != nil && t.of == of {
		again.since, again.times = t.since, t.times+1
	}
	again.next = now.Add(min(trialMin<<min(again.times, 10), trialMax))
	return &again
}

func (t *trial) due(now time.Time) bool { return !now.Before(t.next) }

// load reads the files, and says whether they say something new.
func (f *feed) load(now time.Time) bool {
	before, failed := f.newest, f.err
	var set *inputs.Set
	if set, f.err = f.source.Load(); f.err != nil {
		if failed == nil || failed.Error() != f.err.Error() {
			f.refuse(nil, f.err, now)
			return true
		}
		f.trial = f.trial.refused("", f.err, now)
		return false
	}
	f.newest = &input{Set: set}
	f.newest.certificates, f.newest.assets = certificates(f.dir, set.Pairs)
	f.tell(before)
	if f.trial != nil && f.trial.of != set.ID {
		f.trial = nil
	}
	return failed != nil || before == nil || before.ID != set.ID
}

// choose gives the newest inputs, or the last good ones while the newest are refused
// and it is not time to try them again.
func (f *feed) choose(now time.Time) (*input, error) {
	if f.newest == nil && f.err == nil || f.err != nil && (f.good == nil || f.trial.due(now)) {
		f.load(now)
	}
	if f.good != nil && f.mistrusted(now) {
		return f.good, nil
	}
	return f.newest, f.err
}

// mistrusted says that the newest inputs are not to be used at present.
func (f *feed) mistrusted(now time.Time) bool {
	return f.err != nil || f.trial != nil && !f.trial.due(now)
}

// earlier gives what may be used while inputs are refused: the last good ones with the
// newest certificates, since a drop-in that is wrong must not let them expire, then
// those as they were.
func (f *feed) earlier(in *input) []*input {
	switch {
	case f.good == nil || f.good.ID == in.ID:
		return nil
	case maps.Equal(pems(f.good), pems(in)):
		return []*input{f.good}
	}
	set := *f.good.Set
	set.ID = in.ID + ", certificates only"
	return []*input{{Set: &set, certificates: in.certificates, assets: in.assets}, f.good}
}

// refuse notes that inputs cannot be used, and says so once. Those that could not be
// loaded are nil.
func (f *feed) refuse(in *input, reason error, now time.Time) {
	var of string
	if in != nil {
		of = in.ID
	}
	before := f.trial
	f.trial = f.trial.refused(of, reason, now)
	if f.good != nil && (before == nil || before.of != of || !sameTrouble(describe(before.reason), describe(reason))) {
		f.log.Error("templates, drop-ins or certificates are refused; the last good ones stay in use", "err", describe(reason))
	}
}

// accept notes that inputs are in service.
func (f *feed) accept(in *input) {
	f.good = in
	if f.trial != nil && f.trial.of == in.ID {
		f.log.Info("templates, drop-ins and certificates are in use that were refused before", "refused", f.trial.times+1)
		f.trial = nil
	}
}

// tell says what is wrong with single files, once.
func (f *feed) tell(before *input) {
	var refused []inputs.Refusal
	var warned []inputs.Warning
	if before != nil {
		refused, warned = before.Refused, before.Warnings
	}
	for _, x := range f.newest.Refused {
		if !slices.Contains(refused, x) {
			f.log.Warn("file is not used", "file", x.File, "err", x.Reason)
		}
	}
	for _, x := range f.newest.Warnings {
		if !slices.Contains(warned, x) {
			f.log.Warn("file is used, but not everybody will like it", "file", x.File, "reason", x.Reason)
		}
	}
}
