package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/daemon"
	"rollcall/internal/discovery"
	"rollcall/internal/reload"
	"rollcall/internal/renderer"
	"rollcall/internal/templates"
)

// options are the flags of `render nginx` and its like.
type options struct {
	proxy
	lookup func(string) (string, bool)

	etcd                       cli.Etcd
	prefix, logLevel           string
	logFormat, statusListen    string
	services, listen           []string
	routes                     []string
	config, template, runDir   string
	id, runAs, embedEtcd       string
	once, dryRun, supervise    bool
	minWait, maxWait, stopWait time.Duration

	// The flags that the proxy's own values are the defaults of.
	outputFlag, pidFlag, controlFlag string

	logger   *slog.Logger
	node     string
	routing  renderer.Routing
	program  string
	balancer templates.Balancer
	tmpl     *templates.Template
}

func (o *options) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.etcd.AddFlags(fs)
	fs.StringVar(&o.prefix, "prefix", discovery.DefaultPrefix, "`KEY` below which the records are")
	fs.StringSliceVar(&o.services, "service", nil, "route to this `SERVICE`; repeatable (default: all). A single one takes every request")
	fs.StringArrayVar(&o.routes, "route", nil, "where a service is reached, as `HOST/PATH=SERVICE`; repeatable. HOST may be * and /PATH left out")
	fs.StringSliceVar(&o.listen, "listen", []string{":80"}, "`ADDRESS` to serve at, as :80 or 127.0.0.1:8080; repeatable")
	fs.StringVar(&o.outputFlag, "output", "", "the configuration `FILE` (default: "+o.output+", or RUN-DIR/"+o.name+".conf with --supervise)")
	fs.StringVar(&o.config, "config", "", "the server's main configuration `FILE`, which includes the output (default: "+o.main+", or the output with --supervise)")
	fs.StringVar(&o.template, "template", "", "template `FILE` to use instead of the built-in one")
	fs.BoolVar(&o.once, "once", false, "write, check and load the configuration once, then exit: 0 if it is in place, 1 if not")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the difference to what is on disk, and change nothing")
	fs.BoolVar(&o.supervise, "supervise", false, "run the server as a child: the load-balancer container")
	fs.StringVar(&o.embedEtcd, "embed-etcd", "", "run an etcd server inside this process, with its data in `DIR`, at --endpoints")
	fs.DurationVar(&o.minWait, "min-wait", 20*time.Millisecond, "least `TIME` between two configurations; a lone change never waits")
	fs.DurationVar(&o.maxWait, "max-wait", time.Second, "`TIME` that --min-wait grows to while changes keep coming")
	fs.DurationVar(&o.stopWait, "stop-timeout", 30*time.Second, "`TIME` that a supervised server may take to finish its requests at the end")
	fs.StringVar(&o.id, "id", "", "this renderer's `NAME` in etcd (default: from the node, the proxy and the output)")
	fs.StringVar(&o.runDir, "run-dir", "", "directory `DIR` of pid file, control socket and temporary files (default: $RUNTIME_DIRECTORY, else /run/rollcall/"+o.name+")")
	fs.StringVar(&o.runAs, "run-as", "", "`USER` of the supervised server's workers, when root starts it (default: www-data, else nobody)")
	fs.StringVar(&o.pidFlag, "pid-file", "", "`FILE` where the server writes its process id (default: "+o.pidFile+", or RUN-DIR/"+o.name+".pid with --supervise)")
	fs.StringVar(&o.controlFlag, "control", "", "`"+map[bool]string{true: "ADDRESS", false: "SOCKET"}[o.address]+"` where the server tells render which configuration it serves (default: "+o.control("RUN-DIR")+")")
	fs.StringVar(&o.statusListen, "status-listen", "127.0.0.1:9402", "`ADDRESS` of /healthz, /readyz, /metrics and /status; empty for none")
	fs.StringVar(&o.logLevel, "log-level", "info", "`LEVEL`: debug, info, warn or error")
	fs.StringVar(&o.logFormat, "log-format", "auto", "`FORMAT`: text, json or auto")
}

// validate says everything that is wrong with the flags at once.
func (o *options) validate(cmd *cobra.Command) error {
	var m cli.Mistakes
	m.Join(o.etcd.Validate())
	var err error
	o.prefix, err = discovery.CleanPrefix(o.prefix)
	m.Add("--prefix", "for example /services", err)
	o.logger, err = daemon.NewLogger(cmd.ErrOrStderr(), o.logLevel, o.logFormat)
	m.Add("--log-level, --log-format", "", err)
	for _, s := range o.services {
		m.Add("--service", "for example website", discovery.ValidateName(s))
	}
	o.routing.Services = o.services
	o.checkRoutes(&m)
	o.checkListens(&m)
	if o.statusListen != "" {
		_, _, err := net.SplitHostPort(o.statusListen)
		m.Add("--status-listen", "for example 127.0.0.1:9402", err)
	}
	if o.minWait <= 0 || o.maxWait < o.minWait {
		m.Addf("--min-wait, --max-wait", "20ms and 1s are good values", "%s and %s: the first must be positive and no longer than the second", o.minWait, o.maxWait)
	}
	if o.stopWait < 0 {
		m.Addf("--stop-timeout", "30s is a good value", "%s is negative", o.stopWait)
	}
	if o.supervise && (o.once || o.dryRun) {
		m.Addf("--supervise", "leave one of both out", "there is nothing to supervise with --once or --dry-run")
	}
	if o.embedEtcd != "" && (o.once || o.dryRun) {
		m.Addf("--embed-etcd", "leave one of both out", "an etcd that was just started has nothing to render once")
	}
	if o.once && o.dryRun {
		m.Addf("--once", "leave one of both out", "--dry-run changes nothing, --once does")
	}
	if o.id != "" {
		m.Add("--id", "for example edge-1", discovery.ValidateName(o.id))
	}
	o.resolve(&m)
	return m.Err()
}

// resolve fills in what was not said.
func (o *options) resolve(m *cli.Mistakes) {
	var err error
	// Only what is to be checked or run needs the server: a dry run does neither.
	if o.program, err = reload.FindProgram(o.programs...); err != nil && !o.dryRun {
		m.Add("", "install it: apt-get install "+map[string]string{"nginx": "nginx", "apache": "apache2"}[o.name], err)
	}
	if o.runDir == "" {
		o.runDir = o.defaultRunDir()
	}
	o.runDir = absolute(o.runDir)
	if o.supervise {
		o.output = filepath.Join(o.runDir, o.name+".conf")
		o.pidFile = filepath.Join(o.runDir, o.name+".pid")
	}
	override := func(to *string, flag string) {
		if flag != "" {
			*to = flag
		}
	}
	override(&o.output, o.outputFlag)
	override(&o.pidFile, o.pidFlag)
	o.output, o.pidFile = absolute(o.output), absolute(o.pidFile)
	if o.supervise {
		o.main = o.output
	}
	override(&o.main, o.config)
	o.main = absolute(o.main)
	control := o.control(o.runDir)
	override(&control, o.controlFlag)
	m.Add("--control", o.controlHint, o.checkControl(control))
	hostname, err := os.Hostname()
	m.Add("", "", err)
	o.node, _, _ = strings.Cut(strings.ToLower(hostname), ".")
	if o.id == "" {
		sum := sha256.Sum256([]byte(o.output))
		o.id = fmt.Sprintf("%s-%s-%s", o.node, o.name, hex.EncodeToString(sum[:2]))
	}
	o.balancer = templates.Balancer{
		Proxy: o.name, Standalone: o.main == o.output, Listen: o.listen, IPv6: hasIPv6(), Control: control,
		PidFile: o.pidFile, ErrorLog: "stderr", RunDir: o.runDir, Modules: o.modules(),
	}
	if o.balancer.User, o.balancer.Group, err = o.workers(); err != nil && (o.balancer.Standalone || o.runAs != "") {
		m.Add("--run-as", "an existing user, for example www-data", err)
	}
	o.readTemplate(m)
}

func (o *options) readTemplate(m *cli.Mistakes) {
	var err error
	if o.template == "" {
		o.tmpl, err = templates.Builtin(o.name)
		m.Add("", "", err)
		return
	}
	text, err := os.ReadFile(o.template)
	if err != nil {
		m.Add("--template", "", err)
		return
	}
	o.tmpl, err = templates.Parse(o.template, string(text))
	m.Add("--template", "", err)
}

// workers gives the user and group that a server started by root gives its workers.
func (o *options) workers() (name, group string, err error) {
	if os.Getuid() != 0 {
		return "", "", nil
	}
	names := []string{"www-data", "nobody"}
	if o.runAs != "" {
		names = []string{o.runAs}
	}
	for _, name := range names {
		var u *user.User
		if u, err = user.Lookup(name); err != nil {
			continue
		}
		var g *user.Group
		if g, err = user.LookupGroupId(u.Gid); err != nil {
			continue
		}
		return u.Username, g.Name, nil
	}
	return "", "", err
}

func (o *options) defaultRunDir() string {
	if list, ok := o.lookup("RUNTIME_DIRECTORY"); ok && list != "" {
		dir, _, _ := strings.Cut(list, ":") // systemd lists all that a unit has
		return dir
	}
	if dir, ok := o.lookup("XDG_RUNTIME_DIR"); ok && dir != "" && os.Getuid() != 0 {
		return filepath.Join(dir, "rollcall", o.name)
	}
	return "/run/rollcall/" + o.name
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
