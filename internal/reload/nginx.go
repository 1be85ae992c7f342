package reload

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NginxConfig says which nginx to drive.
type NginxConfig struct {
	Main    string // the main configuration file; may be one of the candidate's own
	Control string // the unix socket on which it answers GenerationPath
	Program string // path of the nginx program; searched for when empty
	Master  Master
	Run     Runner // runs the program; on this machine when nil
	Gate    string // see Gated; "" if the configuration has none
	Secret  string // by which the server knows who may change its members; "" if only a reload does
}

// Nginx is the driver for nginx.
type Nginx struct {
	server
	main, program string
	run           Runner
	gate          string
	live          *luaLive
}

var _ Live = (*Nginx)(nil)

// NewNginx finds the program. It touches nothing.
func NewNginx(c NginxConfig) (*Nginx, error) {
	if c.Program == "" {
		var err error
		if c.Program, err = FindProgram("nginx"); err != nil {
			return nil, err
		}
	}
	if c.Run == nil {
		c.Run = Run
	}
	n := &Nginx{main: filepath.Clean(c.Main), program: c.Program, run: c.Run, gate: c.Gate}
	n.server = server{
		name:    "nginx",
		master:  c.Master,
		control: endpoint{"unix", c.Control},
		titled:  true,
		// The cache manager and the cache loader have titles of their own.
		isWorker: func(child Process) bool { return strings.HasPrefix(child.title(), "nginx: worker process") },
		refused:  nginxRefused,
	}
	n.live = newLuaLive(luaControl{c.Control, c.Secret}, n.children)
	return n, nil
}

// Validate implements Proxy by nginx -t. It does not disturb a server that uses
// the same pid file and unix sockets: checked with nginx 1.22, which removes only
// a socket that it has made itself.
func (n *Nginx) Validate(ctx context.Context, staged Staged) error {
	w := newWhole(nginxDialect(filepath.Dir(n.main)), n.main, staged)
	defer w.remove()
	path, err := w.path()
	if err != nil {
		return err
	}
	return w.check(ctx, n.run, n.program, "-t", "-q", "-c", path)
}

// Running implements Proxy. A server that was killed leaves its socket behind, its own
// check does not mind, and none can start before it is removed: so that is done here.
func (n *Nginx) Running(ctx context.Context) (Serving, error) {
	serving, err := n.server.Running(ctx)
	if !errors.Is(err, unix.ECONNREFUSED) {
		return serving, err
	}
	// Nobody listens on it; unless it was made this moment by one who is about to.
	info, statErr := os.Lstat(n.control.address)
	if statErr == nil && info.Mode()&os.ModeSocket != 0 && time.Since(info.ModTime()) > time.Second {
		err = errors.Join(err, removeIfThere(n.control.address))
	}
	return serving, err
}

// nginxRefused recognizes a reload that has failed for good. A port that is taken
// is tried five times, for 2.5 seconds.
func nginxRefused(words string) bool {
	for line := range strings.Lines(words) {
		if strings.Contains(line, "[emerg]") && !strings.Contains(line, "bind() to ") {
			return true
		}
	}
	return false
}

// NginxChild says how a Supervisor runs nginx. What is left to fill in is the Logger.
func NginxChild(program, main, pidFile, control string) SupervisorConfig {
	return SupervisorConfig{
		Name:         "nginx",
		Argv:         func() []string { return []string{program, "-c", main, "-g", "daemon off;"} },
		Config:       main,
		PidFile:      pidFile,
		Sockets:      []string{control},
		ReloadSignal: unix.SIGHUP,
		StopSignal:   unix.SIGQUIT,
	}
}

// NginxPidFile is the master of an nginx that somebody else runs.
func NginxPidFile(path string) PidFile {
	return PidFile{Path: path, Names: []string{"nginx"}, ReloadSignal: unix.SIGHUP}
}

// Lines are enough: what looks like a directive inside a block of Lua or in a
// quoted text leads to no file of ours, and stays as it is.
var nginxInclude = regexp.MustCompile(`^include[ \t\r\n]+("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s;{}"'#]+)[ \t\r\n]*;`)

// nginxDialect reads and writes nginx's include directive, whose relative paths
// start at the main file's directory.
func nginxDialect(dir string) dialect {
	return dialect{
		inline: true,
		hint:   func(path string) string { return `"include ` + path + `;" to its http block` },
		write:  func(path string) string { return `include "` + escapeQuotes(path) + `";` },
		find: func(content []byte) []include {
			var found []include
			word := []byte("include")
			for from := 0; ; from += len(word) {
				// The word first: to look for an expression through megabytes takes longer
				// than the server's own check.
				next := bytes.Index(content[from:], word)
				if next < 0 {
					return found
				}
				from += next
				before := bytes.TrimRight(content[:from], " \t")
				if len(before) > 0 && !bytes.ContainsAny(before[len(before)-1:], "\n;{}") {
					continue
				}
				m := nginxInclude.FindSubmatchIndex(content[from:])
				if m == nil || commented(content, from) {
					continue
				}
				pattern := unquote(string(content[from+m[2] : from+m[3]]))
				if pattern == "" {
					continue
				}
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(dir, pattern)
				}
				found = append(found, include{start: from, end: from + m[1], pattern: filepath.Clean(pattern)})
			}
		},
	}
}

// commented says whether a comment begins before the position, on its line.
func commented(content []byte, at int) bool {
	line := string(content[bytes.LastIndexByte(content[:at], '\n')+1 : at])
	return strings.HasPrefix(strings.TrimSpace(line), "#") || strings.Contains(line, " #") || strings.Contains(line, "\t#") || strings.Contains(line, ";#")
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return strings.NewReplacer(`\"`, `"`, `\'`, `'`, `\\`, `\`).Replace(s[1 : len(s)-1])
	}
	return s
}

func escapeQuotes(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }
