package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// ApacheConfig says which Apache to drive.
type ApacheConfig struct {
	Main    string // the main configuration file; may be one of the candidate's own
	Control string // the loopback address, host:port, on which it answers GenerationPath
	Program string // path of apache2 or httpd; searched for when empty
	Master  Master
	Run     Runner // runs the program; on this machine when nil
	Gate    string // see Gated; "" if the configuration has none
	Side    string // the file that sends requests to the balancers' doubles, see apacheside.go; "" if there are none
	// Members is the secret by which the balancer managers in the configuration know who may
	// change members; "" if there are none.
	Members string
}

// Apache is the driver for the Apache HTTP Server 2.4.
type Apache struct {
	server
	main, program string
	run           Runner
	elsewhere     bool // what runs is out of reach but for run
	gate          string
	secret        string
	live          apacheLive
}

var _ Proxy = (*Apache)(nil)

// NewApache finds the program. It touches nothing.
func NewApache(c ApacheConfig) (*Apache, error) {
	if c.Program == "" {
		var err error
		if c.Program, err = FindProgram("apache2", "httpd"); err != nil {
			return nil, err
		}
	}
	a := &Apache{main: filepath.Clean(c.Main), program: c.Program, run: c.Run, elsewhere: c.Run != nil, gate: c.Gate, secret: c.Members}
	a.live.side = &apacheSide{path: c.Side, control: endpoint{"tcp", c.Control}, behind: map[string]bool{}}
	a.live.left = newLeavers(a.over)
	if a.run == nil {
		a.run = Run
	}
	a.server = server{
		name:    "apache",
		master:  c.Master,
		control: endpoint{"tcp", c.Control},
		refused: func(string) bool { return false }, // it dies
		// Pipes to loggers are children too.
		isWorker: func(child Process) bool {
			return child.is("apache2", "httpd", filepath.Base(a.program)) && !runsScripts(child)
		},
	}
	return a, nil
}

// runsScripts recognizes the child that workers ask, on a unix socket, to run CGI scripts
// (mod_cgid). It has one thread, unlike most workers, whose files need not be looked at.
func runsScripts(child Process) bool {
	s, err := readStat(child.Pid)
	return err == nil && s.tasks == 1 && child.listensLocally()
}

// Validate implements Proxy by apache2 -t and a trial start: the check says nothing
// about certificates, and a graceful restart that fails is the end of the server.
func (a *Apache) Validate(ctx context.Context, staged Staged) error {
	root, err := a.serverRoot(ctx)
	if err != nil {
		return err
	}
	if err := a.check(ctx, root, staged); err != nil {
		return err
	}
	return a.try(ctx, root, staged)
}

func (a *Apache) check(ctx context.Context, root string, staged Staged) error {
	w := newWhole(apacheDialect(root), a.main, staged)
	defer w.remove()
	path, err := w.path()
	if err != nil {
		return err
	}
	return w.check(ctx, a.run, a.programFor(w), "-t", "-f", path)
}

// ApacheChild says how a Supervisor runs Apache. What is left to fill in is the Logger.
func ApacheChild(program, main, pidFile string) SupervisorConfig {
	return SupervisorConfig{
		Name:         "apache",
		Argv:         func() []string { return []string{program, "-f", main, "-DFOREGROUND"} },
		Config:       main,
		PidFile:      pidFile,
		ReloadSignal: unix.SIGUSR1,
		StopSignal:   unix.SIGWINCH,
		Finish:       finishApache,
	}
}

// ApachePidFile is the master of an Apache that somebody else runs.
func ApachePidFile(path string) PidFile {
	return PidFile{Path: path, Names: []string{"apache2", "httpd"}, ReloadSignal: unix.SIGUSR1}
}

// programFor gives what is run on a whole configuration: where the main file is not
// ours, on Debian apache2ctl, since that file speaks of variables which only the
// script sets. Other systems' scripts take no arguments.
func (a *Apache) programFor(w *whole) string {
	_, own := w.stagedFor(a.main)
	if own || a.elsewhere || filepath.Base(a.program) != "apache2" {
		return a.program
	}
	script := filepath.Join(filepath.Dir(a.program), "apache2ctl")
	if info, err := os.Stat(script); err == nil && info.Mode().IsRegular() {
		return script
	}
	return a.program
}

var (
	serverRootDirective = regexp.MustCompile(`(?mi)^[ \t]*ServerRoot[ \t]+("[^"\n]*"|[^\s"]+)`)
	compiledRoot        = regexp.MustCompile(`-D HTTPD_ROOT="([^"\n]*)"`)
	apacheInclude       = regexp.MustCompile(`(?mi)^[ \t]*(Include(?:Optional)?[ \t]+("(?:[^"\\\n]|\\.)*"|[^\s"]+))[ \t\r]*$`)
)

// serverRoot gives the directory at which relative paths start: what the main
// file says, or what the program was built with.
func (a *Apache) serverRoot(ctx context.Context) (string, error) {
	content, err := readIfThere(a.main)
	if err != nil {
		return "", err
	}
	if m := serverRootDirective.FindSubmatch(content); m != nil {
		return unquote(string(m[1])), nil
	}
	out, err := a.run(ctx, a.program, "-V")
	m := compiledRoot.FindStringSubmatch(out)
	if m == nil { // without a configuration it fails too, but answers first
		return "", &ServerError{Err: errors.Join(fmt.Errorf("%s -V names no HTTPD_ROOT, where relative paths start", a.program), err), Output: out}
	}
	return m[1], nil
}

// apacheDialect reads and writes Apache's Include and IncludeOptional.
func apacheDialect(root string) dialect {
	return dialect{
		hint:  func(path string) string { return `"IncludeOptional ` + path + `"` },
		write: func(path string) string { return `Include "` + escapeQuotes(path) + `"` },
		find: func(content []byte) []include {
			var found []include
			for _, m := range apacheInclude.FindAllSubmatchIndex(content, -1) {
				pattern := unquote(string(content[m[4]:m[5]]))
				if pattern == "" || strings.Contains(pattern, "${") {
					continue // only the server knows
				}
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(root, pattern)
				}
				found = append(found, include{start: m[2], end: m[3], pattern: filepath.Clean(pattern)})
			}
			return found
		},
	}
}
