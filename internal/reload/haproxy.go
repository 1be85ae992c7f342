package reload

import (
	"context"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// HAProxyConfig says which HAProxy to drive.
type HAProxyConfig struct {
	// Main is the main configuration file; may be one of the candidate's own. Where a
	// master runs, what its command line names is checked instead.
	Main    string
	Control string // the unix socket on which it answers GenerationPath
	Members string // that of its runtime API; "" when members change by reload only
	Program string // path of the haproxy program; searched for when empty
	Master  Master
	Run     Runner // runs the program; on this machine when nil
}

// HAProxy is the driver for HAProxy 2.4 and later in master-worker mode (-W or -Ws).
type HAProxy struct {
	server
	main, program string
	run           Runner
	live          *haLive
}

var _ Proxy = (*HAProxy)(nil)

// NewHAProxy finds the program. It touches nothing.
func NewHAProxy(c HAProxyConfig) (*HAProxy, error) {
	if c.Program == "" {
		var err error
		if c.Program, err = FindProgram("haproxy"); err != nil {
			return nil, err
		}
	}
	if c.Run == nil {
		c.Run = Run
	}
	h := &HAProxy{main: filepath.Clean(c.Main), program: c.Program, run: c.Run}
	h.server = server{
		name:    "haproxy",
		master:  c.Master,
		control: endpoint{"unix", c.Control},
		// What a "program" section runs is a child too.
		isWorker: func(child Process) bool { return child.is("haproxy", filepath.Base(h.program)) },
		refused:  haproxyRefused,
	}
	h.live = newHALive(h, c.Members)
	return h, nil
}

// Validate implements Proxy by haproxy -c on the files that the running master was
// given, or on the main file and those of the candidate where none runs.
func (h *HAProxy) Validate(ctx context.Context, staged Staged) error {
	w := newWhole(dialect{}, h.main, staged)
	defer w.remove()
	args, err := h.configured()
	if err != nil {
		return err
	}
	files, err := w.substituted(args)
	if err != nil {
		return err
	}
	argv := []string{h.program, "-c"}
	if args.dir != "" {
		argv = append(argv, "-C", args.dir)
	}
	for _, f := range files {
		argv = append(argv, "-f", f)
	}
	return w.check(ctx, h.brief, argv...)
}

// brief is a Runner that leaves of HAProxy's words those that say what is wrong.
func (h *HAProxy) brief(ctx context.Context, argv ...string) (string, error) {
	out, err := h.run(ctx, argv...)
	var kept strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "[NOTICE]") {
			kept.WriteString(line)
		}
	}
	return strings.TrimSpace(kept.String()), err
}

// haproxyRefused recognizes that the master goes on with the workers it had, or with
// none: on its standard error, or in what it tells systemd. A port that is taken is
// tried for two seconds before.
func haproxyRefused(words string) bool {
	for _, sign := range []string{
		"Loading failure!", "Reload failed!", // 2.5 and later
		"in waitpid mode",        // 2.4
		"Failed to load worker!", // 3.1 and later
	} {
		if strings.Contains(words, sign) {
			return true
		}
	}
	return false
}

// HAProxyChild says how a Supervisor runs HAProxy. What is left to fill in is the
// Logger. Its configuration names the pid file: named on the command line as well,
// it would be complained about at every reload.
//
// The master executes itself anew to reload, which changes neither its pid nor when
// it started. When it is killed, its workers end at once, and with them what they serve.
func HAProxyChild(program, main, pidFile string, sockets ...string) SupervisorConfig {
	return SupervisorConfig{
		Name:         "haproxy",
		Argv:         func() []string { return []string{program, "-W", "-f", main} },
		Config:       main,
		PidFile:      pidFile,
		Sockets:      sockets,
		ReloadSignal: unix.SIGUSR2,
		StopSignal:   unix.SIGUSR1,
	}
}

// HAProxyPidFile is the master of an HAProxy that somebody else runs.
func HAProxyPidFile(path string) PidFile {
	return PidFile{Path: path, Names: []string{"haproxy"}, ReloadSignal: unix.SIGUSR2}
}
