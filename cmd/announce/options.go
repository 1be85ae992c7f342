package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/discovery"
)

// options are the flags of announcing.
type options struct {
	*connection
	ruleOptions

	stateDir, listen  string
	takeover          bool
	ttl, drainTimeout time.Duration
	waitRouted        time.Duration
}

func (o *options) addFlags(cmd *cobra.Command) {
	fs := cmd.Flags()
	o.ruleOptions.addFlags(fs)
	completes(cmd, "layout", "json", "hostport", "directory")
	fs.DurationVar(&o.ttl, "ttl", 15*time.Second, "`DURATION` for which records outlive a machine that is lost")
	fs.DurationVar(&o.drainTimeout, "drain-timeout", 30*time.Second, "`DURATION` for which a stop waits for the balancers at most")
	fs.DurationVar(&o.waitRouted, "wait-routed", 0, "`DURATION` for which a start waits at most until every balancer routes to what is here, before it is called ready")
	fs.BoolVar(&o.takeover, "takeover", false, "replace records that another announcer owns")
	fs.StringVar(&o.stateDir, "state-dir", "", "`DIRECTORY` in which the lease is remembered for the next start (default: $STATE_DIRECTORY, else /var/lib/rollcall, or ~/.local/state/rollcall unless root)")
	fs.StringVar(&o.listen, "listen", "127.0.0.1:9401", "`ADDRESS` of /healthz, /readyz, /metrics and /status; empty for none")
}

// validate says everything that is wrong with the flags at once.
func (o *options) validate(cmd *cobra.Command) error {
	var m cli.Mistakes
	o.connection.validate(cmd, &m)
	if o.ttl < 2*time.Second {
		m.Addf("--ttl", "a short TTL withdraws live containers when etcd hesitates; 15s is a good value", "%s is less than 2s", o.ttl)
	}
	if o.drainTimeout <= 0 {
		m.Addf("--drain-timeout", "for example 30s", "%s is not positive", o.drainTimeout)
	}
	if o.waitRouted < 0 {
		m.Addf("--wait-routed", "for example 30s, or 0 for not at all", "%s is negative", o.waitRouted)
	}
	o.ruleOptions.validate(cmd, o.connection, &m)
	if o.listen != "" {
		m.Add("--listen", "for example 127.0.0.1:9401, or empty for none", checkListen(o.listen))
	}
	if o.stateDir == "" {
		o.stateDir = o.defaultStateDir()
	}
	return m.Err()
}

// checkListen checks an address to listen on; port 0 means any that is free.
func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%.80q is not ADDRESS:PORT", s)
	}
	if port != "0" {
		_, err = discovery.ParsePort(port)
	}
	return err
}

func (o *options) defaultStateDir() string {
	if dir, ok := o.lookup("STATE_DIRECTORY"); ok && dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return "/var/lib/rollcall"
	}
	if dir, ok := o.lookup("XDG_STATE_HOME"); ok && dir != "" {
		return filepath.Join(dir, "rollcall")
	}
	home, _ := o.lookup("HOME")
	return filepath.Join(home, ".local", "state", "rollcall")
}

// stateFile is one per scope: the machine's announcer and each sidekick have a lease of their own.
func (o *options) stateFile() string {
	name := "announce.lease"
	if o.container != "" {
		name = "announce-" + filepath.Base(o.container) + ".lease"
	}
	return filepath.Join(o.stateDir, name)
}
