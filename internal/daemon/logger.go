package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
)

// NewLogger opens a structured log on w. Level is debug, info, warn or error;
// format is text, json or auto: text, without the time where w is a stream to
// systemd's journal, which writes down its own.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{}
	switch level {
	case "debug":
		opts.Level = slog.LevelDebug
	case "info":
		opts.Level = slog.LevelInfo
	case "warn":
		opts.Level = slog.LevelWarn
	case "error":
		opts.Level = slog.LevelError
	default:
		return nil, fmt.Errorf("log level %q is none of debug, info, warn and error", level)
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "text":
	case "auto":
		if isJournal(w, os.Getenv("JOURNAL_STREAM")) {
			opts.ReplaceAttr = withoutTime
		}
	default:
		return nil, fmt.Errorf("log format %q is none of text, json and auto", format)
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// isJournal reports whether w is the stream that JOURNAL_STREAM names as
// "device:inode" (systemd.exec(5)). The variable alone proves nothing: it is
// inherited by whatever is started with its output redirected elsewhere.
func isJournal(w io.Writer, stream string) bool {
	device, inode, ok := strings.Cut(stream, ":")
	f, isFile := w.(*os.File)
	if !ok || !isFile {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && fmt.Sprint(stat.Dev) == device && fmt.Sprint(stat.Ino) == inode
}

// withoutTime leaves out the record's own time, never an attribute that happens to be called so in a group.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
