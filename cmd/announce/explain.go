package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/check"
	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/docker"
	"rollcall/internal/discovery/etcd"
)

// An explanation is what `announce explain` has to say of a container; its JSON.
type explanation struct {
	Container explainedContainer  `json:"container"`
	Reason    string              `json:"reason,omitempty"`  // why nothing of it is announced at all
	Dropped   []announcer.Setting `json:"dropped,omitempty"` // then: what was said in vain; the value is the reason
	Ports     []explainedPort     `json:"ports"`
	Announced int                 `json:"announced"`
	Unasked   string              `json:"etcd_not_asked,omitempty"` // why nothing is known of etcd
}

type explainedContainer struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Image   string `json:"image"`
	State   string `json:"state"`
	Health  string `json:"health,omitempty"`
	Network string `json:"network"`
	Shares  string `json:"shares_network_of,omitempty"`
}

type explainedPort struct {
	Port       string              `json:"port"`
	Reason     string              `json:"reason,omitempty"` // why it is not announced
	Considered []considered        `json:"considered"`
	Settings   []announcer.Setting `json:"settings"`
	Dropped    []announcer.Setting `json:"dropped,omitempty"` // what was said in vain; the value is the reason
	Check      string              `json:"check,omitempty"`
	CheckedAt  string              `json:"checked_at,omitempty"`
	Record     map[string]string   `json:"record,omitempty"`
	Etcd       string              `json:"etcd,omitempty"` // what is there now
}

type considered struct {
	Endpoint string `json:"endpoint"`
	From     string `json:"from"`
	Rejected string `json:"rejected,omitempty"`
}

func newExplain(c *connection, lookup func(string) (string, bool)) *cobra.Command {
	var output string
	o := &options{connection: c, ruleOptions: ruleOptions{lookup: lookup}}
	cmd := &cobra.Command{
		Use:   "explain [CONTAINER]",
		Short: "Show what would be announced of a container, and why",
		Long: `Explain shows, for each port of a container, which endpoints were considered, which
one would be announced and why the others would not, who said what (a flag, a label, a
variable), what a check answers now, the key and value that would be written, and what
etcd has to say of them: another's record, an operator's drain. It writes nothing.

Give it the flags of the announce in question; those that are not about containers make
no difference. CONTAINER is explained as a machine's announcer sees it, --container NAME
as its sidekick does. Two containers that claim one instance do not know of each other
here. It exits with 1 when nothing would be announced.`,
		Example: `  announce explain web1
  announce explain --container web1 --service website -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		PreRunE: func(cmd *cobra.Command, args []string) error {
			var m cli.Mistakes
			m.Join(o.validate(cmd))
			checkOutput(&m, output)
			const hint = "`docker ps -a` shows them"
			switch {
			case len(args) == 0 && o.container == "":
				m.Addf("CONTAINER", hint, "no container is named")
			case len(args) > 0 && o.container != "":
				m.Addf("CONTAINER", "CONTAINER is for a machine's announcer, --container for a sidekick", "two containers are named")
			case len(args) > 0 && !isContainerName(args[0]):
				m.Addf("CONTAINER", hint, "%.80q is not a container's name or id", args[0])
			}
			return m.Err()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := explain(cmd.Context(), c, &o.rules, slices.Concat(args, []string{o.container})[0])
			if err != nil {
				return err
			}
			if err := e.print(cmd.OutOrStdout(), output); err != nil {
				return err
			}
			if e.Announced == 0 {
				return &cli.ExitError{Code: cli.ExitFailure}
			}
			return nil
		},
	}
	o.addFlags(cmd)
	addOutput(cmd, &output)
	return cmd
}

const (
	// explainTimeout bounds the question to Docker.
	explainTimeout = 10 * time.Second
	// explainPatience bounds that to etcd, which can be done without.
	explainPatience = time.Second
)

// explain asks Docker about the container, and the rules and endpoints about it.
func explain(ctx context.Context, c *connection, rules *announcer.Rules, name string) (*explanation, error) {
	watcher, err := docker.Open(docker.Config{Logger: c.logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		return nil, err
	}
	defer func() { _ = watcher.Close() }() // it never ran
	asking, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	container, err := watcher.Inspect(asking, name)
	switch {
	case docker.IsNotFound(err):
		return nil, fmt.Errorf("there is no container %.80q\n   hint: `docker ps -a` shows them", name)
	case err != nil:
		return nil, fmt.Errorf("%w\n   hint: DOCKER_HOST says where the engine is", err)
	}
	e := &explanation{
		Container: explainedContainer{
			Name: container.Name, ID: container.ID, Image: container.Image, State: container.State,
			Health: container.Health, Network: container.NetworkMode,
		},
		Ports: []explainedPort{},
	}
	if container.Shares != nil {
		e.Container.Shares = container.Shares.Name
	}
	if len(container.Networks) > 1 {
		e.Container.Network = ""
		for _, n := range container.Networks {
			e.Container.Network = strings.TrimPrefix(e.Container.Network+","+n.Name, ",")
		}
	}
	decisions := rules.Decide(&container)
	now, err := c.known(ctx)
	if err != nil {
		e.Unasked = err.Error()
	}
	for _, d := range decisions {
		if d.Port == "" {
			e.Reason, e.Dropped = announcer.Why(d.Err), d.Dropped
			continue
		}
		p := explainPort(ctx, d, now)
		if p.Reason == "" {
			e.Announced++
		}
		e.Ports = append(e.Ports, p)
	}
	return e, nil
}

// known is what etcd has to say of records.
type known struct {
	catalog *discovery.Catalog
	drains  map[string]discovery.Drain
}

// known asks etcd, which explain can do without.
func (c *connection) known(ctx context.Context) (k known, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, explainPatience, fmt.Errorf("no answer from %s within %s", strings.Join(c.etcd.Endpoints, ","), explainPatience))
	defer cancel()
	client, err := c.open(ctx)
	if err == nil {
		defer client.Close()
		k.catalog, err = etcd.List(ctx, client, c.prefix, slog.New(slog.DiscardHandler))
	}
	if err == nil {
		k.drains, err = etcd.ListDrains(ctx, client)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return k, err
}

// of says what is in etcd under a record's name; drained is set while an order keeps it out.
func (k known) of(i *discovery.Instance) (said string, drained bool) {
	if k.drains == nil {
		return "", false
	}
	if _, drained := k.drains[i.ID()]; drained {
		return "drained: `announce resume " + i.ID() + "` puts it back", true
	}
	if s, ok := k.catalog.Service(i.Service); ok {
		for _, there := range s.Instances {
			switch {
			case there.Name != i.Name:
			case there.Container != i.Container && there.Container != "":
				return fmt.Sprintf("the record is that of container %.12s on %s, at %s", there.Container, there.Node, there.Endpoint()), false
			default:
				return "the record is there, at " + there.Endpoint(), false
			}
		}
	}
	return "the record is not there", false
}

// explainPort tells of one decision, of what its check says now, and of what is in etcd.
func explainPort(ctx context.Context, d announcer.Decision, now known) explainedPort {
	p := explainedPort{Port: d.Port, Considered: []considered{}, Settings: d.Settings, Dropped: d.Dropped}
	if p.Settings == nil {
		p.Settings = []announcer.Setting{}
	}
	for _, c := range d.Considered {
		p.Considered = append(p.Considered, considered{c.Endpoint.String(), c.From, c.Rejected})
	}
	if d.Err != nil {
		p.Reason = announcer.Why(d.Err)
		return p
	}
	p.Record = d.Record.Values
	if d.Check != nil {
		p.Check, p.CheckedAt = d.Check.Spec.String(), d.Check.Addr.String()
		if err := check.Probe(ctx, *d.Check); err != nil {
			p.Reason = fmt.Sprintf("its check fails: %v", err)
		}
	}
	var drained bool
	if p.Etcd, drained = now.of(d.Instance); drained && p.Reason == "" {
		p.Reason = "drained"
	}
	return p
}
