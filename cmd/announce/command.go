package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/cli"
	"rollcall/internal/daemon"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// connection is what every subcommand needs: etcd, the prefix and a log.
type connection struct {
	etcd      cli.Etcd
	prefix    string
	logLevel  string
	logFormat string
	logger    *slog.Logger
}

func (c *connection) addFlags(cmd *cobra.Command) {
	fs := cmd.PersistentFlags()
	c.etcd.AddFlags(fs)
	fs.StringVar(&c.prefix, "prefix", discovery.DefaultPrefix, "`KEY` below which the records are")
	fs.StringVar(&c.logLevel, "log-level", "info", "`LEVEL`: debug, info, warn or error")
	fs.StringVar(&c.logFormat, "log-format", "auto", "`FORMAT`: text, json or auto")
	completes(cmd, "log-level", "debug", "info", "warn", "error")
	completes(cmd, "log-format", "auto", "text", "json")
}

// validate checks the flags and opens the log.
func (c *connection) validate(cmd *cobra.Command, m *cli.Mistakes) {
	m.Join(c.etcd.Validate())
	prefix, err := discovery.CleanPrefix(c.prefix)
	m.Add("--prefix", "for example /services", err)
	c.prefix = prefix
	logger, err := daemon.NewLogger(cmd.ErrOrStderr(), c.logLevel, c.logFormat)
	m.Add("--log-level, --log-format", "", err)
	c.logger = logger
}

func (c *connection) open(ctx context.Context) (*etcd.Client, error) {
	user, password := c.etcd.Login()
	return etcd.Open(ctx, etcd.Config{
		Endpoints: c.etcd.Endpoints, CACert: c.etcd.CACert, Cert: c.etcd.Cert, Key: c.etcd.Key,
		User: user, Password: password,
	}, c.logger)
}

// waiter waits for what the renderers prove in etcd.
func (c *connection) waiter(client *etcd.Client) *announcer.Waiter {
	return &announcer.Waiter{
		Prefix: c.prefix,
		Renderers: func(ctx context.Context, handle func([]*discovery.Acknowledgement)) error {
			return etcd.WatchRenderers(ctx, client, c.logger, handle)
		},
		Services: func(ctx context.Context, service string, handle func([]*discovery.Instance, int64)) error {
			return etcd.WatchService(ctx, client, c.prefix, service, c.logger, handle)
		},
	}
}

// newCommand puts the command and its subcommands together. Without a
// subcommand it announces.
func newCommand(lookup func(string) (string, bool)) *cobra.Command {
	c := &connection{}
	o := &options{connection: c, ruleOptions: ruleOptions{lookup: lookup}}
	root := &cobra.Command{
		Use:   "announce",
		Short: "Keep etcd records of the containers on this machine",
		Long: `Announce looks at the containers of this machine's Docker engine and keeps, for
each port that is published, a record in etcd that says where it is reached:

  /services/<service>/<instance> = {"host":"10.0.0.5","port":32768,"version":"…",…}

The records hang on one lease that is renewed while announce runs. They go when
the container goes, when announce is told to stop (TERM), and by themselves when
the machine is lost. On TERM it deletes the records first and returns when every
live balancer that 'render' keeps is done with them, or at --drain-timeout with the
names of those that are not, so that a container which is stopped afterwards loses no
request.

A container says what it is by labels:

  rollcall.service      the service's name, instead of the image's
  rollcall.instance     the instance's name, instead of the container's
  rollcall.port         which ports to announce, as 8080 or 8080,53/udp or 8000-8010
  rollcall.internal     true: the container's own address and port
  rollcall.network      the network whose address is announced, if several
  rollcall.version      any text, shown by 'announce list'
  rollcall.weight       share of the traffic, 0 to 256 (100)
  rollcall.host         host names the service answers to, separated by commas
  rollcall.path         path prefix the service answers to
  rollcall.check        what has to answer: http://:8080/healthz, https:///up, tcp://:5432
  rollcall.check.<how>  interval (2s), timeout (1s), rise (2), fall (3)
  rollcall.ignore       true: leave it alone, but for a sidekick (--container)
  rollcall.meta.<key>   whatever else is to be told

and rollcall.<port>.<any of them but port> for one of several ports, or
rollcall.<port>/udp.<…> for one protocol of it. All may also be variables of the
container, ROLLCALL_SERVICE, ROLLCALL_80_SERVICE or ROLLCALL_CHECK_INTERVAL. A flag
beats a label, a label beats a variable, and all beat registrator's SERVICE_NAME,
SERVICE_ID, SERVICE_TAGS, SERVICE_IGNORE, SERVICE_<port>_… and whatever else it reads.

A container is announced while it runs and is not paused, while its HEALTHCHECK
does not say otherwise, and while its check is answered. 'announce explain' shows
what comes of it all.

With --wait-routed it is ready (READY=1 to systemd, /readyz) only when every balancer
routes to what is there at the start, or when that time is over.

Signals: TERM or INT withdraws and waits, a second one leaves at once; USR1
leaves the records for the successor that is about to start; HUP does nothing.`,
		Example: `  # everything that is published on this machine
  announce --endpoints http://10.0.0.1:2379

  # the sidekick of one container
  announce --container apache1 --service website --service-version 52c7248a14 --wait-routed 30s

  # what would be announced of a container, and why
  announce explain web1

  # what is announced, and who routes to it
  announce list`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return o.validate(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return announce(cmd.Context(), o)
		},
		Version: cli.Version(),
	}
	c.addFlags(root)
	o.addFlags(root)
	root.AddCommand(newList(c), newExplain(c, lookup), newDrain(c), newResume(c), newWait(c), newUnits())
	root.AddCommand(cli.NewMan(lookup))
	return root
}

// connected does what a person waits for: it opens etcd, for no longer than d in all.
func (c *connection) connected(cmd *cobra.Command, d time.Duration, do func(context.Context, *etcd.Client) error) error {
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), d, fmt.Errorf("not done within %s", d))
	defer cancel()
	client, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return intelligible(ctx, do(ctx, client), d)
}
