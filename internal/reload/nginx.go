package reload

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// NginxConfig says which nginx to drive.
type NginxConfig struct {
	Main    string // the main configuration file; may be one of the candidate's own
	Control string // the unix socket on which it answers GenerationPath
	Program string // path of the nginx program; searched for when empty
	Master  Master
}

// Nginx is the driver for nginx.
type Nginx struct {
	server
	main, program string
}

var _ Proxy = (*Nginx)(nil)

// NewNginx finds the program. It touches nothing.
func NewNginx(c NginxConfig) (*Nginx, error) {
	if c.Program == "" {
		var err error
		if c.Program, err = FindProgram("nginx"); err != nil {
			return nil, err
		}
	}
	n := &Nginx{main: filepath.Clean(c.Main), program: c.Program}
	n.server = server{
		name:    "nginx",
		master:  c.Master,
		control: endpoint{"unix", c.Control},
		titled:  true,
		// The cache manager and the cache loader have titles of their own.
		isWorker: func(child Process) bool { return strings.HasPrefix(child.title(), "nginx: worker process") },
		refused:  nginxRefused,
	}
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
	return w.check(ctx, n.program, "-t", "-q", "-c", path)
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
var nginxInclude = regexp.MustCompile(`(?m)(?:^|[;{}])[ \t]*(include[ \t\r\n]+("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s;{}"'#]+)[ \t\r\n]*;)`)

// nginxDialect reads and writes nginx's include directive, whose relative paths
// start at the main file's directory.
func nginxDialect(dir string) dialect {
	return dialect{
		inline: true,
		hint:   func(path string) string { return `"include ` + path + `;" to its http block` },
		write:  func(path string) string { return `include "` + escapeQuotes(path) + `";` },
		find: func(content []byte) []include {
			var found []include
			for from := 0; ; {
				m := nginxInclude.FindSubmatchIndex(content[from:])
				if m == nil {
					return found
				}
				start, end := from+m[2], from+m[3]
				pattern := unquote(string(content[from+m[4] : from+m[5]]))
				from = end - 1 // the semicolon is also what the next one may begin after
				if commented(content, start) || pattern == "" {
					continue
				}
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(dir, pattern)
				}
				found = append(found, include{start: start, end: end, pattern: filepath.Clean(pattern)})
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
