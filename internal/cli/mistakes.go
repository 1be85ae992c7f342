package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// A Mistake is one thing that is wrong with how the program was called.
type Mistake struct {
	Where string // what the user wrote it as: "--listen", "RENDER_LISTEN"; may be empty
	Err   error  // what is wrong with it
	Hint  string // how to put it right; may be empty
}

// Error gives the mistake in one line and the hint, indented, in another.
func (m *Mistake) Error() string {
	text := m.Err.Error()
	if m.Where != "" {
		text = m.Where + ": " + text
	}
	if m.Hint != "" {
		text += "\n   hint: " + m.Hint
	}
	return text
}

// Unwrap gives what is wrong.
func (m *Mistake) Unwrap() error { return m.Err }

// Mistakes collects everything that is wrong, so that a user hears of it at
// once and not one mistake at a time. The zero value is ready for use.
type Mistakes struct{ all []*Mistake }

// Addf adds a mistake; its text is formatted as fmt.Errorf does.
func (m *Mistakes) Addf(where, hint, format string, args ...any) {
	m.add(&Mistake{Where: where, Err: fmt.Errorf(format, args...), Hint: hint})
}

// Add adds a mistake if err is one.
func (m *Mistakes) Add(where, hint string, err error) {
	if err != nil {
		m.add(&Mistake{Where: where, Err: err, Hint: hint})
	}
}

// Join adds what another collection returned from Err, or any other error as a
// mistake without a hint; joined errors one by one.
func (m *Mistakes) Join(err error) {
	if err == nil {
		return
	}
	// Itself first, and only itself: what it holds may be a collection, but belongs to one place.
	var one *Mistake
	var several *multierror.Error
	joined, isJoined := err.(interface{ Unwrap() []error })
	switch own, isOwn := err.(*Mistake); { //nolint:errorlint // only itself, see above
	case isOwn:
		m.add(own)
	case isJoined:
		for _, e := range joined.Unwrap() {
			m.Join(e)
		}
	case errors.As(err, &several):
		for _, e := range several.Errors {
			m.Join(e)
		}
	case errors.As(err, &one):
		m.add(one)
	default:
		m.add(&Mistake{Err: err})
	}
}

// Err gives nil, or all mistakes as one error.
func (m *Mistakes) Err() error {
	all := &multierror.Error{ErrorFormat: listMistakes}
	for _, one := range m.all {
		all.Errors = append(all.Errors, one)
	}
	return all.ErrorOrNil()
}

// add leaves out what has been said already: a wrong value is met once when it
// is read and again when everything is checked.
func (m *Mistakes) add(one *Mistake) {
	if !slices.ContainsFunc(m.all, func(other *Mistake) bool { return other.Error() == one.Error() }) {
		m.all = append(m.all, one)
	}
}

// listMistakes shows one mistake as it is and several as a list.
func listMistakes(errs []error) string {
	if len(errs) == 1 {
		return errs[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d mistakes:", len(errs))
	for _, err := range errs {
		b.WriteString("\n  " + strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return b.String()
}
