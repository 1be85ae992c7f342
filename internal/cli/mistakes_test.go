package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-multierror"
)

func TestMistakes(t *testing.T) {
	errRefused := errors.New("refused")
	var other Mistakes
	other.Addf("--a", "", "one")
	other.Addf("--b", "do it", "two")
	for _, tc := range []struct {
		name string
		make func(*Mistakes)
		want string
	}{
		{"none", func(*Mistakes) {}, ""},
		{"nil", func(m *Mistakes) { m.Add("--a", "x", nil); m.Join(nil); m.Join((&Mistakes{}).Err()) }, ""},
		{"one", func(m *Mistakes) { m.Add("--a", "", errRefused) }, "--a: refused"},
		{"one with a hint", func(m *Mistakes) { m.Addf("--a", "do it", "%d is bad", 7) }, "--a: 7 is bad\n   hint: do it"},
		{"nowhere", func(m *Mistakes) { m.Join(errRefused) }, "refused"},
		{"joined", func(m *Mistakes) { m.Join(other.Err()) }, "2 mistakes:\n  --a: one\n  --b: two\n     hint: do it"},
		{"joined and wrapped", func(m *Mistakes) { m.Join(fmt.Errorf("check: %w", other.Err())) }, "2 mistakes:\n  --a: one\n  --b: two\n     hint: do it"},
		{"wrapped", func(m *Mistakes) { m.Join(fmt.Errorf("check: %w", &Mistake{Where: "--a", Err: errRefused})) }, "--a: refused"},
		{"errors.Join", func(m *Mistakes) { m.Join(errors.Join(errRefused, other.Err())) }, "3 mistakes:\n  refused\n  --a: one\n  --b: two\n     hint: do it"},
		{"multierror", func(m *Mistakes) { m.Join(multierror.Append(nil, errRefused, errors.New("torn"))) }, "2 mistakes:\n  refused\n  torn"},
		{"several in one place stay one", func(m *Mistakes) { m.Join(&Mistake{Where: "--a", Err: errors.Join(errRefused, errors.New("torn"))}) }, "--a: refused\ntorn"},
		{"twice is once", func(m *Mistakes) { m.Join(other.Err()); m.Join(other.Err()); m.Addf("--a", "", "one") }, "2 mistakes:\n  --a: one\n  --b: two\n     hint: do it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m Mistakes
			tc.make(&m)
			got := ""
			if err := m.Err(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	var m Mistakes
	m.Addf("--a", "", "one")
	m.Add("--b", "", errRefused)
	var one *Mistake
	if err := m.Err(); !errors.Is(err, errRefused) || !errors.As(err, &one) || one.Where != "--a" {
		t.Errorf("what is inside is not found: %v", err)
	}
}
