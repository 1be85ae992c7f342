package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/check"
	"rollcall/internal/cli"
	"rollcall/internal/discovery/docker"
)

// An explanation is what `announce explain` has to say of a container; its JSON.
type explanation struct {
	Container explainedContainer `json:"container"`
	Reason    string             `json:"reason,omitempty"` // why nothing of it is announced at all
	Ports     []explainedPort    `json:"ports"`
	Announced int                `json:"announced"`
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
	Dropped    []string            `json:"dropped,omitempty"`
	Check      string              `json:"check,omitempty"`
	CheckedAt  string              `json:"checked_at,omitempty"`
	Record     map[string]string   `json:"record,omitempty"`
}

type considered struct {
	Endpoint string `json:"endpoint"`
	From     string `json:"from"`
	Rejected string `json:"rejected,omitempty"`
}

func newExplain(c *connection, lookup func(string) (string, bool)) *cobra.Command {
	var output string
	o := &ruleOptions{lookup: lookup}
	cmd := &cobra.Command{
		Use:   "explain [CONTAINER]",
		Short: "Show what would be announced of a container, and why",
		Long: `Explain shows, for each port of a container, which endpoints were considered, which
one would be announced and why the others would not, who said what (a flag, a label, a
variable), what a check answers now, and the key and value that would be written. It
asks Docker, and the endpoint itself when there is a check; it writes nothing.

Give it the flags of the announce in question: CONTAINER is explained as a machine's
announcer sees it, --container NAME as its sidekick does. It exits with 1 when nothing
would be announced.`,
		Example: `  announce explain web1
  announce explain --container web1 --service website -o json`,
		Args: cobra.MaximumNArgs(1),
		PreRunE: func(cmd *cobra.Command, args []string) error {
			var m cli.Mistakes
			c.validate(cmd, &m)
			o.validate(cmd, c, &m)
			checkOutput(&m, output)
			if len(args) == 0 && o.container == "" {
				m.Addf("CONTAINER", "`docker ps -a` shows them", "no container is named")
			}
			return m.Err()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := o.container
			if len(args) > 0 {
				name = args[0]
			}
			e, err := explain(cmd.Context(), c, &o.rules, name)
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
	o.addFlags(cmd.Flags())
	addOutput(cmd, &output)
	return cmd
}

// explainTimeout bounds the question to Docker.
const explainTimeout = 10 * time.Second

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
	for _, d := range rules.Decide(&container) {
		if d.Port == "" {
			e.Reason = d.Err.Error()
			continue
		}
		p := explainPort(ctx, d)
		if p.Reason == "" {
			e.Announced++
		}
		e.Ports = append(e.Ports, p)
	}
	return e, nil
}

// explainPort tells of one decision, and of what its check says now.
func explainPort(ctx context.Context, d announcer.Decision) explainedPort {
	p := explainedPort{Port: d.Port, Considered: []considered{}, Settings: d.Settings, Dropped: d.Dropped}
	for _, c := range d.Considered {
		p.Considered = append(p.Considered, considered{c.Endpoint.String(), c.From, c.Rejected})
	}
	if d.Err != nil {
		p.Reason = d.Err.Error()
		return p
	}
	p.Record = d.Record.Values
	if d.Check == nil {
		return p
	}
	p.Check, p.CheckedAt = d.Check.Spec.String(), d.Check.Addr.String()
	if err := check.Probe(ctx, *d.Check); err != nil {
		p.Reason = fmt.Sprintf("its check fails: %v", err)
	}
	return p
}

// print shows the explanation as tables for people or as JSON for scripts.
func (e *explanation) print(w io.Writer, output string) error {
	if output == "json" {
		b, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			return fmt.Errorf("print JSON: %w", err)
		}
		_, err = fmt.Fprintln(w, escaped(string(b)))
		return err
	}
	c := e.Container
	state, network := c.State, c.Network
	if c.Health != "" {
		state += ", " + c.Health
	}
	if c.Shares != "" {
		network = "that of " + c.Shares
	}
	err := cli.Table(w, []string{"container", "id", "image", "state", "network"}, [][]string{{c.Name, c.ID[:min(12, len(c.ID))], c.Image, state, network}})
	if e.Reason != "" {
		_, said := fmt.Fprintf(w, "\nnot announced: %s\n", oneLine(e.Reason))
		return errors.Join(err, said)
	}
	var endpoints, settings, records [][]string
	for _, p := range e.Ports {
		endpoints = append(endpoints, p.verdicts()...)
		for _, s := range p.Settings {
			settings = append(settings, []string{p.Port, s.Name, s.Value, s.From})
		}
		for _, name := range p.Dropped {
			settings = append(settings, []string{p.Port, "-", "left out: no record can hold it", name})
		}
		for _, key := range slices.Sorted(maps.Keys(p.Record)) {
			records = append(records, []string{p.Port, key, p.Record[key]})
		}
	}
	for _, t := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"port", "endpoint", "from", "verdict"}, endpoints},
		{[]string{"port", "setting", "value", "from"}, settings},
		{[]string{"port", "key", "value"}, records},
	} {
		if len(t.rows) > 0 {
			_, said := fmt.Fprintln(w)
			err = errors.Join(err, said, cli.Table(w, t.header, t.rows))
		}
	}
	return err
}

// verdicts gives one row for each endpoint considered, and one for what keeps the port
// from being announced.
func (p *explainedPort) verdicts() [][]string {
	var rows [][]string
	for _, c := range p.Considered {
		verdict := c.Rejected
		if verdict == "" {
			verdict = "chosen"
		} else {
			verdict = "rejected: " + verdict
		}
		rows = append(rows, []string{p.Port, c.Endpoint, c.From, verdict})
	}
	switch {
	case p.Reason != "":
		rows = append(rows, []string{p.Port, p.CheckedAt, p.Check, "not announced: " + p.Reason})
	case p.Check != "":
		rows = append(rows, []string{p.Port, p.CheckedAt, p.Check, "check answered"})
	}
	return rows
}

// oneLine keeps what a container says away from the terminal's control.
func oneLine(s string) string { return strings.ReplaceAll(escaped(s), "\n", `\n`) }
