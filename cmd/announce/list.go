package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// listTimeout bounds what a person waits for a table.
const listTimeout = 10 * time.Second

// listed is one row of `announce list`, and one object of its JSON.
type listed struct {
	Service   string   `json:"service"`
	Instance  string   `json:"instance"`
	Endpoint  string   `json:"endpoint"`
	Version   string   `json:"version,omitempty"`
	Node      string   `json:"node,omitempty"`
	Container string   `json:"container,omitempty"`
	Weight    int      `json:"weight"`
	Started   string   `json:"started,omitempty"`
	TTL       float64  `json:"ttl_seconds,omitempty"`
	RoutedBy  []string `json:"routed_by"`
	Drained   bool     `json:"drained,omitempty"`

	age time.Duration
}

func newList(c *connection) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list [SERVICE]",
		Short: "Show what is announced, and which balancers route to it",
		Args:  cobra.MaximumNArgs(1),

		ValidArgsFunction: c.argument(services),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			var m cli.Mistakes
			c.validate(cmd, &m)
			checkOutput(&m, output)
			return m.Err()
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd, listTimeout, func(ctx context.Context, client *etcd.Client) error {
				rows, err := c.list(ctx, client, args)
				if err != nil {
					return fmt.Errorf("%w\n   hint: is etcd at %s? --endpoints says where", err, strings.Join(c.etcd.Endpoints, ","))
				}
				return print(cmd.OutOrStdout(), output, rows)
			})
		},
	}
	addOutput(cmd, &output)
	return cmd
}

func addOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "`FORMAT`: table or json")
	completes(cmd, "output", "table", "json")
}

// completes tells the shell what a flag may be.
func completes(cmd *cobra.Command, flag string, values ...string) {
	// It fails for a flag that is not there, and for one that has been told of already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func checkOutput(m *cli.Mistakes, output string) {
	if output != "table" && output != "json" {
		m.Addf("--output", "say table or json", "%q is neither table nor json", output)
	}
}

func (c *connection) list(ctx context.Context, client *etcd.Client, args []string) ([]listed, error) {
	catalog, err := etcd.List(ctx, client, c.prefix, c.logger)
	if err != nil {
		return nil, err
	}
	ttls, err := etcd.TTLs(ctx, client, c.prefix)
	if err != nil {
		return nil, err
	}
	acks, err := etcd.ListRenderers(ctx, client, c.logger)
	if err != nil {
		return nil, err
	}
	drains, err := etcd.ListDrains(ctx, client)
	if err != nil {
		return nil, err
	}
	rows := []listed{}
	for _, s := range catalog.Services {
		if len(args) > 0 && args[0] != s.Name {
			continue
		}
		for _, i := range s.Instances {
			r := row(i, ttls[i.ID()], acks, c.prefix)
			_, r.Drained = drains[i.ID()]
			delete(drains, i.ID())
			rows = append(rows, r)
		}
	}
	for id, drain := range drains {
		if service, instance := split(id); len(args) == 0 || args[0] == service {
			rows = append(rows, drainedRow(service, instance, drain))
		}
	}
	slices.SortFunc(rows, func(x, y listed) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Instance, y.Instance))
	})
	return rows, nil
}

func row(i *discovery.Instance, ttl time.Duration, acks []*discovery.Acknowledgement, prefix string) listed {
	r := listed{
		Service: i.Service, Instance: i.Name, Endpoint: i.Endpoint(), Version: i.Version, Node: i.Node,
		Container: i.Container, Weight: i.Weight, TTL: ttl.Seconds(), RoutedBy: []string{},
	}
	if !i.Started.IsZero() {
		r.Started, r.age = i.Started.Format(time.RFC3339), time.Since(i.Started)
	}
	for _, a := range acks {
		if a.Routes(prefix, i) {
			r.RoutedBy = append(r.RoutedBy, a.ID)
		}
	}
	return r
}

// drainedRow is all that is left of an instance whose record went by an operator's
// order. Its age is the order's, if that says: one made by hand need not.
func drainedRow(service, instance string, d discovery.Drain) listed {
	r := listed{Service: service, Instance: instance, RoutedBy: []string{}, Drained: true}
	if !d.Since.IsZero() {
		r.age = time.Since(d.Since)
	}
	return r
}

// escaped keeps JSON, which may hold all but the oldest control characters as they
// are, away from a terminal's control. Outside its strings there is only ASCII.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// print shows the rows as a table for people or as JSON for scripts.
func print(w io.Writer, output string, rows []listed) error {
	if output == "json" {
		b, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			return fmt.Errorf("print JSON: %w", err)
		}
		_, err = fmt.Fprintln(w, escaped(string(b)))
		return err
	}
	var cells [][]string
	for _, r := range rows {
		age, ttl, routed := "", "", strings.Join(r.RoutedBy, ",")
		if r.age != 0 {
			age = cli.Age(r.age)
		}
		if r.TTL > 0 {
			ttl = cli.Age(time.Duration(r.TTL * float64(time.Second)))
		}
		if r.Drained {
			routed = strings.TrimSpace(routed + " (drained)")
		}
		cells = append(cells, []string{r.Service, r.Instance, r.Endpoint, r.Version, r.Node, age, ttl, routed})
	}
	return cli.Table(w, []string{"service", "instance", "endpoint", "version", "node", "age", "ttl", "routed by"}, cells)
}
