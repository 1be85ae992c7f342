package reload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"golang.org/x/sys/unix"
)

// AssetDir gives the directory for the assets of a configuration: beside its first
// file, so that they are there as long as what names them, and hidden from include globs.
func AssetDir(output string) string {
	dir, base := filepath.Split(output)
	return dir + hidden + base + ".assets"
}

// assetName is what an asset is called: the name ends in a hash of the content, in
// hexadecimal, and one extension. Whatever is called otherwise is none of ours.
var assetName = regexp.MustCompile(`(?:^|[-.])[0-9a-f]{12,64}\.[a-z]+$`)

// freshAsset is a name for an asset that is not written yet. The names that assets
// have may be as long as names can be.
const freshAsset = hidden + "asset.new"

// A stamp tells whether a file has changed since it was looked at.
type stamp struct {
	ino          uint64
	size         int64
	mtime, ctime unix.Timespec
}

// stampOf looks at a regular file; links are not followed.
func stampOf(path string) (s stamp, ok bool) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return s, false
	}
	return stamp{st.Ino, st.Size, st.Mtim, st.Ctim}, true
}

// writeAssets has every asset on disk before anything that names it is checked.
func (w *work) writeAssets() error {
	var dirs []string
	for _, a := range w.candidate.Assets {
		fresh, err := w.writeAsset(a)
		if err != nil {
			return fmt.Errorf("write %s: %w", a.Path, err)
		}
		if fresh {
			w.fresh = true
			dirs = append(dirs, filepath.Dir(a.Path))
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := w.disk.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// writeAsset leaves an asset alone that is there already. Since its name tells its
// content it is read once, and then only when its file was touched.
func (w *work) writeAsset(a Asset) (fresh bool, err error) {
	if !filepath.IsAbs(a.Path) {
		return false, errors.New("path is not absolute")
	}
	now, ok := stampOf(a.Path)
	if ok && now.size == int64(len(a.Content)) {
		if w.assets[a.Path] == now {
			return false, nil
		}
		if b, err := os.ReadFile(a.Path); err == nil && bytes.Equal(b, a.Content) {
			w.assets[a.Path] = now
			return false, nil
		}
	}
	dir := filepath.Dir(a.Path)
	if err := w.makeDir(dir); err != nil {
		return false, err
	}
	mode := fs.FileMode(0o600)
	if a.Public {
		mode = 0o644
	}
	name := filepath.Join(dir, freshAsset)
	if err := w.disk.write(name, a.Content, attributes{mode, os.Geteuid(), os.Getegid()}); err != nil {
		return false, errors.Join(err, w.disk.remove(name))
	}
	if err := w.disk.rename(name, a.Path); err != nil {
		return false, errors.Join(err, w.disk.remove(name))
	}
	w.assets[a.Path], _ = stampOf(a.Path)
	return true, nil
}

// makeDir makes a directory for assets. Others may reach what is theirs to read, but
// not list what there is.
func (w *work) makeDir(dir string) error {
	info, err := os.Lstat(dir)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("%s is no directory (hint: remove it)", dir)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := w.disk.do("mkdir", dir, func() error { return os.Mkdir(dir, 0o711) }); err != nil {
		return err
	}
	return w.disk.sync(filepath.Dir(dir))
}

// sweep removes the assets that nothing names any more. After a confirmation the
// candidate needs its own; otherwise those count that the files on disk name, and
// in any case those of the last good configuration, which may have to be restored.
// What cannot be removed costs nothing but room.
func (w *work) sweep(confirmed bool) {
	if !confirmed && !w.fresh {
		return
	}
	dirs := map[string]bool{}
	own := map[string]bool{}
	for _, a := range w.candidate.Assets {
		dirs[filepath.Dir(a.Path)] = true
		own[a.Path] = confirmed
	}
	for _, d := range w.files {
		dirs[AssetDir(d.path)] = true
	}
	var found []string
	for dir := range dirs {
		found = append(found, strays(dir, own)...)
	}
	if len(found) == 0 {
		return
	}
	found, err := w.unnamed(found)
	if err == nil && len(found) > 0 {
		err = w.files.sync(w.disk) // the last good configuration must not come back without them
	}
	for _, path := range found {
		if err == nil {
			delete(w.assets, path)
			err = w.disk.remove(path)
		}
	}
	if err != nil {
		w.log.Warn("assets that nothing names could not be removed", "err", err)
	}
}

// strays lists the assets in a directory that are not among those that are needed.
func strays(dir string, needed map[string]bool) []string {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Type().IsRegular() && !needed[path] && (assetName.MatchString(e.Name()) || e.Name() == freshAsset) {
			found = append(found, path)
		}
	}
	return found
}

// unnamed gives those assets that neither the files on disk nor the last good ones
// name, directly or in an asset that they name.
func (w *work) unnamed(assets []string) ([]string, error) {
	var texts [][]byte
	for _, d := range w.files {
		for _, path := range []string{d.real, d.goodName()} {
			b, err := readIfThere(path)
			if err != nil {
				return nil, err
			}
			texts = append(texts, b)
		}
	}
	for _, a := range w.candidate.Assets {
		if slices.Contains(assets, a.Path) {
			continue
		}
		texts = append(texts, a.Content)
	}
	for len(texts) > 0 {
		text := texts[0]
		texts = texts[1:]
		var rest []string
		for _, path := range assets {
			if !bytes.Contains(text, []byte(filepath.Base(path))) {
				rest = append(rest, path)
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			texts = append(texts, b)
		}
		assets = rest
	}
	return assets, nil
}
