package main

import (
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/inputs"
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
	services                   []string
	routes, tcp                []string
	listen, listenTLS          []string
	templates, outputs         []string
	settings                   []string
	certs, dropIn              string
	config, runDir, cache      string
	maxLoss                    string
	hold                       time.Duration
	validateLine, reloadLine   string
	confirmLine                string
	shell, printTemplate       bool
	unit, container            string
	timeout                    time.Duration
	id, runAs, embedEtcd       string
	once, dryRun, supervise    bool
	minWait, maxWait, stopWait time.Duration

	// The flags that the proxy's own values are the defaults of.
	pidFlag, controlFlag string

	logger   *slog.Logger
	node     string
	routing  renderer.Routing
	loss     float64
	program  string
	balancer templates.Balancer
	secret   string // by which the server lets render change its members; "" if it asks for none
	commands commands
	inputs   *inputs.Files
}

// commands are the operator's own, ready to be run; nil where there is none.
type commands struct{ validate, reload, confirm []string }

func (o *options) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.etcd.AddFlags(fs)
	o.addCatalog(fs)
	o.addRouting(fs)
	o.addConfiguration(fs)
	if o.server() {
		o.addServer(fs)
	}
	o.addCommands(fs)
	o.addProcess(fs)
}

// addCatalog adds what decides which records are believed.
func (o *options) addCatalog(fs *pflag.FlagSet) {
	fs.StringVar(&o.prefix, "prefix", discovery.DefaultPrefix, "`KEY` below which the records are")
	fs.StringVar(&o.maxLoss, "max-loss", "50%", "`SHARE` of a service's instances that may lose their leases at once; when more do, they are held; 100% holds none")
	fs.DurationVar(&o.hold, "hold", 5*time.Minute, "`TIME` for which instances whose leases ended together (--max-loss) are held")
	fs.StringVar(&o.cache, "cache", "", "`FILE` to remember the catalog in, for a start while etcd is away (default: none)")
	fs.StringVar(&o.embedEtcd, "embed-etcd", "", "run an etcd server inside this process, with its data in `DIR`, at --endpoints")
}

func (o *options) addRouting(fs *pflag.FlagSet) {
	one := ""
	if o.server() {
		one = ". A single one takes every request"
	}
	fs.StringSliceVar(&o.services, "service", nil, "route to this `SERVICE`; repeatable (default: all)"+one)
	fs.StringArrayVar(&o.routes, "route", nil, "where a service is reached, as `HOST/PATH=SERVICE`; repeatable. HOST may be * and /PATH left out")
	if !o.server() {
		return
	}
	fs.StringArrayVar(&o.tcp, "tcp", nil, "pass connections on to a service, as `ADDRESS=SERVICE`, :5432=db; repeatable")
	if !o.streams {
		_ = fs.MarkHidden("tcp") // it is there for the hint
	}
	fs.StringSliceVar(&o.listen, "listen", []string{":80"}, "`ADDRESS` to serve at, as :80 or 127.0.0.1:8080; repeatable")
	fs.StringSliceVar(&o.listenTLS, "listen-tls", []string{":443"}, "`ADDRESS` to serve at with TLS, once there is a certificate in --certs; repeatable")
	fs.StringVar(&o.certs, "certs", "", "`DIR` of certificates: HOST.crt with HOST.key, HOST.pem, or HOST/fullchain.pem with privkey.pem; HOST may be _.example.com or default")
}

// addConfiguration adds what the configuration is made from and where it goes.
func (o *options) addConfiguration(fs *pflag.FlagSet) {
	if !o.server() {
		fs.StringArrayVar(&o.templates, "template", nil, "template `FILE`; repeatable, with an --output each")
		fs.StringArrayVar(&o.outputs, "output", nil, "`FILE` to write; repeatable, in the order of the templates")
		return
	}
	fs.StringArrayVar(&o.templates, "template", nil, "template `FILE` to use instead of the built-in one")
	fs.BoolVar(&o.printTemplate, "print-template", false, "print the built-in template, to begin one of your own with, and exit")
	cli.WithoutEnv(fs, "print-template")
	fs.StringArrayVar(&o.outputs, "output", nil, "the configuration `FILE` (default: "+o.output+", or RUN-DIR/"+o.file()+" with --supervise)")
	fs.StringVar(&o.config, "config", "", "the server's main configuration `FILE`, which includes the output (default: "+o.main+", or the output with --supervise)")
	fs.StringVar(&o.dropIn, "drop-in", "", "`DIR` of your own fragments ("+o.fragments+"), which become part of the configuration")
	fs.StringArrayVar(&o.settings, "set", nil, "`KEY=VALUE` for the built-in template; repeatable: "+templates.SettingsHelp(o.name))
}

// addServer adds where the server and its things are.
func (o *options) addServer(fs *pflag.FlagSet) {
	fs.BoolVar(&o.supervise, "supervise", false, "run the server as a child: the load-balancer container")
	fs.DurationVar(&o.stopWait, "stop-timeout", 30*time.Second, "`TIME` that a supervised server may take to finish its requests at the end")
	fs.StringVar(&o.runAs, "run-as", "", "`USER` of the supervised server's workers, when root starts it (default: www-data, else nobody)")
	fs.StringVar(&o.pidFlag, "pid-file", "", "`FILE` where the server writes its process id (default: "+o.pidFile+", or RUN-DIR/"+o.name+".pid with --supervise)")
	fs.StringVar(&o.unit, "unit", "", "reload the server through systemd, as this `UNIT`")
	fs.StringVar(&o.container, "container", "", "the server runs in this Docker container, by `NAME`: it is checked and reloaded in there; --reload says by which command instead of a signal")
	fs.StringVar(&o.controlFlag, "control", "", "`"+map[bool]string{true: "ADDRESS", false: "SOCKET"}[o.address]+"` where the server tells render which configuration it serves (default: "+o.beside+o.superviseControl()+")")
}

// addCommands adds the operator's own commands.
func (o *options) addCommands(fs *pflag.FlagSet) {
	instead := ""
	if o.server() {
		instead = " instead of the server's own way"
	}
	fs.StringVar(&o.validateLine, "validate", "", "`COMMAND` that checks a configuration before it is put in place"+instead+"; {} is the file to check")
	fs.StringVar(&o.reloadLine, "reload", "", "`COMMAND` that has a configuration loaded"+instead)
	fs.StringVar(&o.confirmLine, "confirm", "", "`COMMAND` that succeeds once the configuration serves"+instead+"; $ROLLCALL_GENERATION names it")
	fs.BoolVar(&o.shell, "shell", false, "give commands to sh -c; otherwise they are run without a shell")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second, "`TIME` after which a command, with all it started, is killed")
}

// addProcess adds what concerns render itself.
func (o *options) addProcess(fs *pflag.FlagSet) {
	fs.BoolVar(&o.once, "once", false, "write, check and load the configuration once, then exit: 0 if it is in place, 1 if not")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the difference to what is on disk, and change nothing")
	fs.DurationVar(&o.minWait, "min-wait", 20*time.Millisecond, "least `TIME` between two configurations; a lone change never waits")
	fs.DurationVar(&o.maxWait, "max-wait", time.Second, "`TIME` that a change waits at most while others keep coming")
	fs.StringVar(&o.id, "id", "", "this renderer's `NAME` in etcd (default: from the node, the proxy and the output)")
	fs.StringVar(&o.runDir, "run-dir", "", "directory `DIR` of pid file, control socket and temporary files (default: $RUNTIME_DIRECTORY, else /run/rollcall/"+o.name+")")
	fs.StringVar(&o.statusListen, "status-listen", "127.0.0.1:9402", "`ADDRESS` of /healthz, /readyz, /metrics and /status; empty for none")
	fs.StringVar(&o.logLevel, "log-level", "info", "`LEVEL`: debug, info, warn or error")
	fs.StringVar(&o.logFormat, "log-format", "auto", "`FORMAT`: text, json or auto")
}
