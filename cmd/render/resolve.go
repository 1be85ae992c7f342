package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"rollcall/internal/cli"
	"rollcall/internal/inputs"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// resolve fills in what was not said.
func (o *options) resolve(m *cli.Mistakes) {
	hostname, err := os.Hostname()
	m.Add("", "", err)
	o.node, _, _ = strings.Cut(strings.ToLower(hostname), ".")
	if o.runDir == "" {
		o.runDir = o.defaultRunDir()
	}
	o.runDir = absolute(o.runDir)
	if o.server() {
		o.resolveServer(m)
	} else {
		o.resolveFiles(m)
	}
	if o.id == "" {
		sum := sha256.Sum256([]byte(strings.Join(o.outputs, "\n")))
		o.id = fmt.Sprintf("%s-%s-%s", o.node, o.name, hex.EncodeToString(sum[:2]))
	}
	o.inputs = inputs.New(inputs.Config{
		Proxy: o.name, Templates: o.templates, DropIn: o.dropIn, Certs: o.certs, Outputs: o.outputs, Logger: o.logger,
	})
	_, err = o.inputs.Load()
	m.Add(map[bool]string{true: "--template"}[len(o.templates) > 0], "", err)
}

// resolveFiles looks at what `render file` is to write.
func (o *options) resolveFiles(m *cli.Mistakes) {
	switch {
	case len(o.templates) == 0:
		m.Addf("--template", "for example --template haproxy.tmpl --output /etc/haproxy/haproxy.cfg", "is missing")
	case len(o.outputs) != len(o.templates):
		m.Addf("--output", "give each --template an --output", "%d for %d templates", len(o.outputs), len(o.templates))
	}
	for i, path := range o.outputs {
		o.outputs[i] = absolute(path)
		if slices.Contains(o.outputs[:i], o.outputs[i]) {
			m.Addf("--output", "give each template one of its own", "%q is given twice", path)
		}
	}
	o.balancer.Proxy = o.name
}

// resolveServer works out where the server and its things are.
func (o *options) resolveServer(m *cli.Mistakes) {
	if len(o.templates) > 1 || len(o.outputs) > 1 {
		m.Addf("--template, --output", "`render file` writes several files", "a balancer is one file")
	}
	var err error
	// Only what is to be checked or run here needs the server: a dry run does neither.
	if o.program, err = reload.FindProgram(o.programs...); err != nil && !o.dryRun && o.container == "" {
		m.Add("", "install it: apt-get install "+o.debian, err)
	}
	if o.container != "" {
		o.program = o.programs[0] // as it is found in there
	}
	if o.name == "haproxy" && o.supervise && o.config != "" {
		m.Addf("--config", "put what is yours into a --drop-in directory", "HAProxy includes no files: a supervised one reads the output alone")
	}
	output := o.output
	if o.supervise {
		output = filepath.Join(o.runDir, o.file())
		o.pidFile = filepath.Join(o.runDir, o.name+".pid")
	}
	override := func(to *string, flag string) {
		if flag != "" {
			*to = flag
		}
	}
	if len(o.outputs) > 0 {
		override(&output, o.outputs[0])
	}
	override(&o.pidFile, o.pidFlag)
	output, o.pidFile = absolute(output), absolute(o.pidFile)
	o.outputs = []string{output}
	if o.supervise {
		o.main = output
	}
	override(&o.main, o.config)
	o.main = absolute(o.main)
	control := o.control(o.runDir)
	if !o.supervise && os.Getuid() == 0 {
		// Not in the run directory, which a reboot empties: the server may start before
		// render does, and does not start without the directory of a socket.
		control = o.beside
	}
	override(&control, o.controlFlag)
	m.Add("--control", o.controlHint, o.checkControl(control))
	if o.commands.confirm != nil && o.controlFlag == "" {
		control = "" // nobody asks there
	}
	o.balancer = templates.Balancer{
		Proxy: o.name, Standalone: o.main == output, Settings: o.balancer.Settings,
		Listen: o.listen, ListenTLS: o.listenTLS, IPv6: hasIPv6(), Control: control,
		PidFile: o.pidFile, ErrorLog: "stderr", RunDir: o.runDir, Modules: o.modules(),
	}
	if o.name == "nginx" {
		o.balancer.StreamModule = streamModule()
	}
	if o.name == "nginx" && len(o.tcp) > 0 && !o.balancer.Standalone {
		m.Addf("--tcp", "use --supervise, or HAProxy", "a fragment inside http{} cannot hold nginx's TCP services")
	}
	if !o.balancer.Standalone && slices.ContainsFunc(o.settings, func(s string) bool { return strings.HasPrefix(s, "shutdown-timeout=") }) && o.shutdown != "" {
		m.Addf("--set", "put "+o.shutdown+" there", "shutdown-timeout belongs to the server's own main configuration when that is not render's")
	}
	if o.balancer.User, o.balancer.Group, err = o.workers(); err != nil && (o.balancer.Standalone || o.runAs != "") {
		m.Add("--run-as", "an existing user, for example www-data", err)
	}
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
