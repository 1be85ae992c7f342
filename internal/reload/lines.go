package reload

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// lines passes on what a server prints, and keeps the last of it for messages.
type lines struct {
	log *slog.Logger

	mu   sync.Mutex
	kept []string
	size int
}

// read copies until the last process that holds the pipe is gone, or it is closed.
func (l *lines) read(r io.Reader) {
	in := bufio.NewReaderSize(r, maxOutput)
	for {
		line, more, err := in.ReadLine()
		if err != nil {
			return
		}
		l.add(string(line))
		for more && err == nil { // a line without an end is cut, not kept in memory
			_, more, err = in.ReadLine()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

func (l *lines) add(line string) {
	line = strings.TrimRight(line, " \t\r")
	if line == "" {
		return
	}
	if troubling(line) {
		l.log.Warn("server says", "line", line)
	} else {
		l.log.Info("server says", "line", line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, line)
	l.size += len(line) + 1
	for l.size > maxOutput && len(l.kept) > 1 {
		l.size -= len(l.kept[0]) + 1
		l.kept = l.kept[1:]
	}
}

// troubling tells complaints from the rest by the level that nginx ("[warn]"),
// Apache ("[core:warn]") and HAProxy ("[ALERT]") write. What HAProxy warns of is
// mostly that it does what it was told to, except about its configuration.
func troubling(line string) bool {
	if strings.HasPrefix(line, "[ALERT]") || strings.HasPrefix(line, "[WARNING]") && strings.Contains(line, " : config : ") {
		return true
	}
	for _, level := range []string{"warn", "error", "crit", "alert", "emerg"} {
		if strings.Contains(line, "["+level+"]") || strings.Contains(line, ":"+level+"]") {
			return true
		}
	}
	return false
}

func (l *lines) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept, l.size = nil, 0
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.kept, "\n")
}
