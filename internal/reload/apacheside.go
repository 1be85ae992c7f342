package reload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"rollcall/internal/templates"
)

// An apacheSide says to which balancers Apache sends its requests. Each balancer has a
// double, and a file that it looks for with every request says whether the doubles are
// meant: members are added only where nobody is sent to, see templates.ApacheDouble. What is
// left is a request that came before the last change of sides, and chooses a member only
// now, or another one.
type apacheSide struct {
	path    string          // of the file; "" if there are no doubles
	control endpoint        // where Apache says whether it sees the file
	behind  map[string]bool // pools whose members are not all on the side at rest; by name
	// adding is held while members are added: the managers' pages tell of all balancers, and
	// a child that is making one is reading their lists.
	adding sync.RWMutex
}

// doubled says whether requests go to the doubles.
func (s *apacheSide) doubled() (bool, error) {
	if s.path == "" {
		return false, nil
	}
	switch _, err := os.Stat(s.path); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, err
	}
}

// check returns an error unless Apache sees what there is: its workers may not be allowed to
// look into the directory, or have another one in its place.
func (s *apacheSide) check(ctx context.Context) error {
	doubled, err := s.doubled()
	if err != nil || s.path == "" {
		return err
	}
	_, header, err := s.control.ask(ctx, GenerationPath)
	if err != nil {
		return fmt.Errorf("ask whether %s is seen: %w", s.path, err)
	}
	if sees := header.Get("X-Rollcall-Side") == templates.ApacheDouble; sees != doubled {
		return fmt.Errorf("%w: %s is there: %t, and apache says %t", errUnseen, s.path, doubled, sees)
	}
	return nil
}

var errUnseen = errors.New("apache's workers have to be able to see a file")

// restore makes true what Apache sees.
func (s *apacheSide) restore(ctx context.Context) error {
	err := s.check(ctx)
	if !errors.Is(err, errUnseen) {
		return err
	}
	if err := s.change(); err != nil {
		return err
	}
	return s.check(ctx)
}

// change sends all requests to the other side.
func (s *apacheSide) change() error {
	doubled, err := s.doubled()
	switch {
	case err != nil:
		return err
	case !doubled:
		return mark(s.path)
	}
	if err := unix.Unlink(s.path); err != nil {
		return &os.PathError{Op: "remove", Path: s.path, Err: err}
	}
	return nil
}

// of gives the balancer of a name that requests go to, and the one at rest; nil for one
// that is not there.
func (s *apacheSide) of(page apachePage, name string) (active, rest *apacheBalancer, err error) {
	active, rest = page[name], page[templates.ApacheDouble+name]
	doubled, err := s.doubled()
	if doubled && rest != nil {
		active, rest = rest, active
	}
	return active, rest, err
}
