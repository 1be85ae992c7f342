package reload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// finishApache tells Apache's children whose master was killed to finish. They
// block every signal but the deadly one; what they listen to is a pipe, the "pipe
// of death", out of which each child that is to finish reads one exclamation mark
// (GRACEFUL_CHAR in server/mpm_unix.c of Apache 2.4). All of them hold both of
// its ends, so any will do to write into it.
func finishApache(orphans []Process) error {
	var errs []error
	written := map[string]bool{}
	for _, p := range orphans {
		fd, pipe, err := podOf(p)
		if err == nil && !written[pipe] {
			written[pipe] = true
			err = writePod(procPath(p.Pid, "fd/"+strconv.Itoa(fd)), len(orphans))
		}
		if err != nil && p.alive() { // a mark that was written for another may have ended it
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// podOf finds the pipe of death: of the pipes of which the process holds both
// ends the first, since the master opened it before the child made its own.
func podOf(p Process) (fd int, pipe string, err error) {
	dir := procPath(p.Pid, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, "", err
	}
	held := map[int]string{}
	ends := map[string]int{}
	for _, e := range entries {
		link, err := os.Readlink(filepath.Join(dir, e.Name()))
		n, bad := strconv.Atoi(e.Name())
		if err != nil || bad != nil || len(link) < 5 || link[:5] != "pipe:" {
			continue
		}
		held[n] = link
		ends[link]++
	}
	fd = -1
	for n, link := range held {
		info, err := os.Lstat(filepath.Join(dir, strconv.Itoa(n)))
		writable := err == nil && info.Mode()&0o200 != 0 // proc(5): the mode of the link is that of the open file
		if ends[link] == 2 && writable && n > 2 && (fd < 0 || n < fd) {
			fd, pipe = n, link
		}
	}
	if fd < 0 {
		return 0, "", fmt.Errorf("process %d has no pipe of death", p.Pid)
	}
	return fd, pipe, nil
}

func writePod(path string, times int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	marks := make([]byte, times)
	for i := range marks {
		marks[i] = '!'
	}
	_, err = f.Write(marks)
	return errors.Join(err, f.Close())
}
