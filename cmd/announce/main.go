// Announce keeps leased etcd records of the containers on this machine, for as
// long as they are there. See `announce --help`.
package main

import (
	"context"
	"os"

	"rollcall/internal/cli"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.LookupEnv))
}

// run is the program less the process: arguments and environment in, exit code out.
func run(ctx context.Context, args []string, lookup func(string) (string, bool)) int {
	root := newCommand(lookup)
	cli.BindEnv(root, "ANNOUNCE", lookup)
	return cli.Execute(ctx, root, args, os.Stderr)
}
