package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/templates"
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
	root.AddCommand(newBalancer(nginx(), lookup), newBalancer(apache(), lookup), newBalancer(haproxy(), lookup), newFiles(lookup), newStatus())
	root.AddCommand(cli.NewMan(lookup))
	return root
}

// newBalancer is `render nginx` and its like.
func newBalancer(p proxy, lookup func(string) (string, bool)) *cobra.Command {
	o := &options{proxy: p, lookup: lookup}
	cmd := &cobra.Command{
		Use:   p.name,
		Short: "Keep " + p.title + " configured, with no template to write",
		Long: `Render ` + p.name + ` makes ` + p.title + ` a balancer for the services in etcd.

With --supervise it writes a whole configuration and runs the server as its child.
Otherwise the server runs by itself, and render keeps one file of its
configuration, ` + p.output + ` unless --output says
otherwise. ` + p.included + `

A request goes to a service by what its records say (hosts, path), or --route, which
beats them; else to the one service that --service selects; else to the service that
is called like the request's Host. Unknown hosts get 404; a service without
instances gets 503 with Retry-After.`,
		Example: `  render ` + p.name + ` --supervise --listen :8080 --service website
  render ` + p.name + ` --route www.example.com=website --route www.example.com/api=api
  render ` + p.name + ` --once        # write, check, reload if it runs, and exit
  render ` + p.name + ` --dry-run     # show what would change
  render ` + p.name + ` --print-template > own.tmpl`,
		Args: noArguments,
	}
	return o.into(cmd)
}

// newFiles is `render file`.
func newFiles(lookup func(string) (string, bool)) *cobra.Command {
	o := &options{proxy: files(), lookup: lookup}
	return o.into(&cobra.Command{
		Use:   "file",
		Short: "Keep files made of your own templates, for any program",
		Long: `Render file writes files from templates of yours, for programs that render knows
nothing of. All of them are one configuration: rendered from one catalog, checked with
--validate, put in place together, loaded with --reload, confirmed with --confirm.
When a step fails, all are as they were, and it is tried again.

Commands are run without a shell unless --shell is given. They find in their
environment ROLLCALL_GENERATION, ROLLCALL_FILE, ROLLCALL_FILE_1, … for the files, and
--validate also ROLLCALL_STAGED, ROLLCALL_STAGED_1, … for where they are while they
are checked; {} in an argument of it is the first one.`,
		Example: `  render file --template hosts.tmpl --output /etc/app/hosts --reload 'systemctl reload app'
  render file --template a.tmpl --output /etc/app/a --template b.tmpl --output /etc/app/b \
      --validate 'app --check {}' --reload 'app --reload' --confirm 'app --is-at $ROLLCALL_GENERATION' --shell`,
		Args: noArguments,
	})
}

// noArguments refuses words that are no flags. cobra would call them unknown commands.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &cli.Mistake{Err: fmt.Errorf("takes no arguments, and was given %q", args[0]), Hint: "everything is said by flags"}
}

// into makes a command of the options.
func (o *options) into(cmd *cobra.Command) *cobra.Command {
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if o.printTemplate {
			return nil
		}
		return o.validate(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case o.printTemplate:
			text, err := templates.BuiltinText(o.name)
			if err == nil {
				_, err = io.WriteString(cmd.OutOrStdout(), text)
			}
			return err
		case o.dryRun:
			return dryRun(cmd.Context(), o, cmd.OutOrStdout())
		case o.once:
			return once(cmd.Context(), o)
		default:
			return serve(cmd.Context(), o)
		}
	}
	o.addFlags(cmd)
	return cmd
}
