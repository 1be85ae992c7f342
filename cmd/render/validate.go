package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/daemon"
	"rollcall/internal/discovery"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

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
	o.checkTCP(&m)
	o.checkListens(&m)
	o.checkCatalog(&m)
	o.checkCommands(&m)
	o.checkModes(&m)
	o.balancer.Settings, err = templates.ParseSettings(o.name, o.settings)
	m.Join(err)
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
	if o.id != "" {
		m.Add("--id", "for example edge-1", discovery.ValidateName(o.id))
	}
	o.resolve(&m)
	return m.Err()
}

// checkModes refuses what contradicts each other.
func (o *options) checkModes(m *cli.Mistakes) {
	const one = "leave one of both out"
	for _, c := range []struct {
		both  bool
		where string
		text  string
	}{
		{o.supervise && (o.once || o.dryRun), "--supervise", "there is nothing to supervise with --once or --dry-run"},
		{o.embedEtcd != "" && (o.once || o.dryRun), "--embed-etcd", "an etcd that was just started has nothing to render once"},
		{o.once && o.dryRun, "--once", "--dry-run changes nothing, --once does"},
		{o.supervise && o.unit != "", "--unit", "a supervised server is no unit of systemd's"},
		{o.supervise && o.container != "", "--container", "a supervised server runs beside render, not in a container of its own"},
		{o.supervise && o.reloadLine != "", "--reload", "a supervised server is reloaded by render itself"},
		{o.unit != "" && o.container != "", "--unit", "--container says that Docker runs the server, --unit that systemd does"},
		{o.unit != "" && o.reloadLine != "", "--reload", "--unit says already how the server is reloaded"},
	} {
		if c.both {
			m.Addf(c.where, one, "%s", c.text)
		}
	}
}

// checkCatalog reads --max-loss and looks at --hold.
func (o *options) checkCatalog(m *cli.Mistakes) {
	var err error
	o.loss, err = parseShare(o.maxLoss)
	m.Add("--max-loss", "for example 50%; 100% holds nothing", err)
	if o.hold <= 0 || o.hold > 24*time.Hour {
		m.Addf("--hold", "5m is a good value", "%s is not between 0 and 24h", o.hold)
	}
	if o.cache != "" {
		o.cache = absolute(o.cache)
	}
}

// parseShare reads "50%" or "0.5".
func parseShare(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share <= 1) { // NaN is neither
		return 0, fmt.Errorf("%q is no share from 0%% to 100%%", s)
	}
	return share, nil
}

// checkCommands splits the operator's commands into words.
func (o *options) checkCommands(m *cli.Mistakes) {
	for _, c := range []struct {
		flag, line string
		to         *[]string
	}{
		{"--validate", o.validateLine, &o.commands.validate},
		{"--reload", o.reloadLine, &o.commands.reload},
		{"--confirm", o.confirmLine, &o.commands.confirm},
	} {
		if c.line == "" {
			continue
		}
		if o.shell {
			*c.to = []string{"sh", "-c", c.line}
			continue
		}
		var err error
		*c.to, err = reload.SplitCommand(c.line)
		m.Add(c.flag, "it is run without a shell unless --shell is given", err)
	}
	if o.timeout <= 0 {
		m.Addf("--timeout", "30s is a good value", "%s is not positive", o.timeout)
	}
	if o.shell && o.validateLine+o.reloadLine+o.confirmLine == "" {
		m.Addf("--shell", "leave it out", "there is no command to give to a shell")
	}
}
