package reload

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"rollcall/internal/templates"
)

// An apacheSide says to which balancers Apache sends its requests. Each balancer has a
// double, and a file that it looks for with every request says whether the doubles are
// meant: members are added only where nobody is sent to, see templates.ApacheDouble. That
// is exact but for a request that goes on to another member on the side that it came to.
type apacheSide struct {
	path   string          // of the file; "" if there are no doubles
	behind map[string]bool // pools whose members are not all on the side at rest; by name
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
