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
}

// Apache is the driver for the Apache HTTP Server 2.4.
type Apache struct {
	server
	main, program string
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
	a := &Apache{main: filepath.Clean(c.Main), program: c.Program}
	a.server = server{
		name:    "apache",
		master:  c.Master,
		control: endpoint{"tcp", c.Control},
		refused: func(string) bool { return false }, // it dies
		// Pipes to loggers are children too.
		isWorker: func(child Process) bool { return child.is("apache2", "httpd", filepath.Base(a.program)) },
	}
	return a, nil
}

// Validate implements Proxy by apache2 -t. It says nothing about ports that are
// taken and keys that do not fit their certificates.
func (a *Apache) Validate(ctx context.Context, staged Staged) error {
	root, err := a.serverRoot(ctx)
	if err != nil {
		return err
	}
	w := newWhole(apacheDialect(root), a.main, staged)
	defer w.remove()
	path, err := w.path()
	if err != nil {
		return err
	}
	program := a.program
	if _, own := w.stagedFor(a.main); !own {
		program = a.checker()
	}
	return w.check(ctx, program, "-t", "-f", path)
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

// checker gives what runs the check on a main file that is not ours: on Debian
// apache2ctl, since that file speaks of variables which only the script sets.
// Other systems' scripts take no arguments.
func (a *Apache) checker() string {
	script := filepath.Join(filepath.Dir(a.program), "apache2ctl")
	if info, err := os.Stat(script); err == nil && info.Mode().IsRegular() && filepath.Base(a.program) == "apache2" {
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
	out, err := runCommand(ctx, a.program, "-V")
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
