package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

var errNoLease = errors.New("state file does not hold a lease")

// A stateFile remembers the lease across restarts, so that a new process takes it
// up and no key flaps. It is locked: two announcers with one lease would each
// delete what the other wrote.
type stateFile struct {
	path string // "" keeps nothing
	lock *os.File
}

func openStateFile(path string) (*stateFile, error) {
	if path == "" {
		return &stateFile{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("state file %s is in use: another announce runs with this --state-dir", path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &stateFile{path: path, lock: lock}, nil
}

// read gives the remembered lease; 0 if there is none.
func (f *stateFile) read() (clientv3.LeaseID, error) {
	if f.path == "" {
		return 0, nil
	}
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("state file: %w", err)
	}
	id, err := strconv.ParseInt(strings.TrimSpace(string(b)), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", errNoLease, f.path)
	}
	return clientv3.LeaseID(id), nil
}

// write remembers a lease; 0 forgets it.
func (f *stateFile) write(id clientv3.LeaseID) error {
	if f.path == "" {
		return nil
	}
	if id == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return renameio.WriteFile(f.path, []byte(strconv.FormatInt(int64(id), 16)+"\n"), 0o600)
}

func (f *stateFile) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}
