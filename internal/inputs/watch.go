package inputs

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Run gives tokens until ctx is done, whose error it returns. It must be called once only.
//
// Directories are watched, never files: an editor renames a new file over the old one,
// Kubernetes and certbot swap links. A watch is on a directory's inode, so when anything
// on the way to a file is replaced, all watches are made anew.
func (f *Files) Run(ctx context.Context) error {
	w := watcher{files: f}
	defer w.close()
	look := time.NewTicker(f.look)
	defer look.Stop()
	before := w.renew().sum()
	f.tell() // what changed before the files were watched
	for {
		told := false
		select {
		case e, ok := <-w.events():
			switch {
			case !ok: // it has broken, and is made anew below
				w.close()
			case !w.seen.matters(e.Name):
				continue
			}
			told = true
		case err, ok := <-w.errors(): // too many events, say: some are lost
			if !ok {
				w.close()
			}
			f.cfg.Logger.Debug("watching files", "err", err)
			told = true
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if told && !w.settle(ctx) {
			return ctx.Err()
		}
		// A file written twice within a tick of the kernel's clock may look the same.
		if now := w.renew().sum(); told || now != before {
			before = now
			f.tell()
		}
	}
}

// tell leaves a token, unless there is one already.
func (f *Files) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// maxRenewals bounds the chase after directories that are replaced all the time; the next
// look goes on with it.
const maxRenewals = 3

// A watcher hears of changes in the directories of a survey.
type watcher struct {
	files *Files
	seen  *survey // the latest

	notify   *fsnotify.Watcher // nil while there is none
	watching *survey           // whose directories it watches
	silent   bool              // what cannot be watched has been told
}

// renew looks at the files, and watches their directories where these are not the ones
// that are watched already. What happens in between is in the survey that is returned.
func (w *watcher) renew() *survey {
	w.seen = w.files.survey()
	for range maxRenewals {
		if w.notify != nil && w.seen.sameDirs(w.watching) {
			break
		}
		w.close()
		w.open(w.seen)
		w.seen = w.files.survey()
	}
	return w.seen
}

func (w *watcher) open(s *survey) {
	notify, err := w.files.newWatcher()
	if err != nil {
		w.warn("", err)
		return
	}
	w.notify, w.watching = notify, s
	for dir := range s.dirs {
		if err := notify.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.warn(dir, err)
		}
	}
}

// warn says once that changes may be seen late.
func (w *watcher) warn(dir string, err error) {
	if !w.silent {
		w.files.cfg.Logger.Warn("cannot watch files; looking at them now and then", "dir", dir, "every", w.files.look, "err", err)
	}
	w.silent = true
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
	w.notify = nil
}

// events gives what the watches tell; nil, which never does, when there are none.
func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

// settle waits until the files are left alone, but not for ever. It says whether ctx lives on.
func (w *watcher) settle(ctx context.Context) bool {
	late := time.NewTimer(w.files.noisy)
	defer late.Stop()
	calm := time.NewTimer(w.files.quiet)
	defer calm.Stop()
	for {
		select {
		case e, ok := <-w.events():
			if !ok {
				return true
			}
			if w.seen.matters(e.Name) {
				calm.Reset(w.files.quiet)
			}
		case _, ok := <-w.errors():
			if !ok {
				return true
			}
		case <-calm.C:
			return true
		case <-late.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
