package daemon

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

// A journal is a log and a record of messages to systemd that tests can read while it is written.
type journal struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	sent []string
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

// logger writes to the journal without times, so that tests can compare whole lines.
func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime}))
}

// lines gives the lines of at least level info.
func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	for line := range strings.Lines(j.buf.String()) {
		if !strings.HasPrefix(line, "level=DEBUG") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func (j *journal) send(state string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sent = append(j.sent, state)
	return nil
}

func (j *journal) messages() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	sent := j.sent
	j.sent = nil
	return sent
}

// notifier sends to the journal instead of systemd.
func (j *journal) notifier(watchdog time.Duration) *Notifier {
	return &Notifier{logger: j.logger(), send: j.send, watchdog: watchdog}
}

var errDown = errors.New("connection refused")
