package main

import (
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
)

func newCommand(lookup func(string) (string, bool)) *cobra.Command {
	root := &cobra.Command{
		Use:   "render",
		Short: "Make a load balancer follow the records in etcd",
		Long: `Render watches the records that announce keeps in etcd and makes a load balancer
follow them. Each change becomes one configuration: written beside the old one,
checked by the server itself, swapped in whole, loaded without dropping a
connection, and confirmed by asking the server what it serves. Only then is it
acknowledged in etcd. If any step fails, the last good configuration stays.`,
		Example: `  # a whole balancer in one process tree, for a machine or a container
  render nginx --supervise --service website

  # beside the nginx that the machine runs anyway
  render nginx --output /etc/nginx/conf.d/rollcall.conf

  # what would change
  render apache --dry-run`,
		Version: cli.Version(),
	}
	root.AddCommand(newBalancer(nginx(), lookup), newBalancer(apache(), lookup), newStatus())
	return root
}

// newBalancer is `render nginx` and its like.
func newBalancer(p proxy, lookup func(string) (string, bool)) *cobra.Command {
	o := &options{proxy: p, lookup: lookup}
	cmd := &cobra.Command{
		Use:   p.name,
		Short: "Keep " + p.title + " configured, with no file to write",
		Long: `Render ` + p.name + ` makes ` + p.title + ` a balancer for the services in etcd.

With --supervise it writes a whole configuration and runs the server as its child.
Otherwise the server runs by itself, and render keeps one file of its
configuration, ` + p.output + ` unless --output says
otherwise, which ` + p.main + ` must include.

A request goes to a service by what its records say (hosts, path), or --route, which
beats them; else to the one service that --service selects; else to the service that
is called like the request's Host. Unknown hosts get 404; a service without
instances gets 503 with Retry-After.`,
		Example: `  render ` + p.name + ` --supervise --listen :8080 --service website
  render ` + p.name + ` --route www.example.com=website --route www.example.com/api=api
  render ` + p.name + ` --once        # write, check, reload if it runs, and exit
  render ` + p.name + ` --dry-run     # show what would change`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return o.validate(cmd)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.dryRun:
				return dryRun(cmd.Context(), o, cmd.OutOrStdout())
			case o.once:
				return once(cmd.Context(), o)
			default:
				return serve(cmd.Context(), o)
			}
		},
	}
	o.addFlags(cmd)
	return cmd
}
