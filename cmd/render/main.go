// Render writes a load balancer's configuration from the records in etcd, has the
// server check and serve it, and proves in etcd that it does. See `render --help`.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"rollcall/internal/cli"
	"rollcall/internal/reload"
)

func main() {
	// The first process of a container inherits every orphan in it; render itself
	// runs as its child then.
	if reload.IsInit() {
		code, err := reload.RunAsInit(os.Args, os.Environ())
		if err != nil {
			fmt.Fprintln(os.Stderr, "render:", err)
		}
		os.Exit(code)
	}
	// Of tens of thousands of instances the configuration is megabytes, made anew at
	// every change: without this, what is waiting to be collected is the larger part of
	// the memory. $GOGC says otherwise.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.LookupEnv))
}

// run is the program less the process: arguments and environment in, exit code out.
func run(ctx context.Context, args []string, lookup func(string) (string, bool)) int {
	root := newCommand(lookup)
	cli.BindEnv(root, "RENDER", lookup)
	return cli.Execute(ctx, root, args, os.Stderr)
}
