// Command proof deploys under load on three whole machines, through nginx, Apache and HAProxy at
// once, and counts what clients lose: go run ./test/proof --help. It exits 1 if a request was lost.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"rollcall/test/machines"
	"rollcall/test/proof/deploy"
)

const usage = `Usage: go run ./test/proof [flags]

Starts three machines (systemd, Docker and an etcd member on each; nginx on the first, Apache on
the second, HAProxy on the third; two containers of one service on each), installs rollcall,
and replaces the containers one by one, v1 → v2 → v1 …, by

    systemctl restart web@2 announce@2

while clients send requests through all three proxies: on connections that are used all the time,
on rarely used ones and on new ones, GET and POST, some taking two seconds. Replacements follow one
another without a pause until there were --replacements of them and --requests requests through each
proxy meanwhile. Then --abrupt containers are replaced while nobody waits for anything, so
that it is seen what is lost without.

It needs root, Docker, and what 'make deps' installs. All it starts is gone when it ends.
Exit codes: 0 nothing was lost, 1 something was, 2 it could not be found out ('go run' makes 1 of 2,
and says which it was).

`

// options say how much is done.
type options struct {
	requests     int64
	replacements int
	rate         float64
	rest         time.Duration
	abrupt       int
	deb          string
	report       string
	journals     string
	command      string // what was called
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lost, err := prove(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(2)
	case lost > 0:
		fmt.Fprintf(os.Stderr, "proof: %d requests were lost\n", lost)
		os.Exit(1)
	}
}

// prove does what args say, and returns how many requests were lost where none may be.
func prove(ctx context.Context, args []string, out, errs io.Writer) (lost int64, err error) {
	o, err := parse(args, errs)
	if err != nil {
		return 0, err
	}
	cluster, err := machines.Start(ctx, machines.Config{Machines: len(machines.Proxies()), Package: o.deb, Log: errs})
	if err != nil {
		return 0, err
	}
	r := run{options: o, cluster: cluster, rolling: deploy.New(cluster), log: errs}
	p, err := r.prove(ctx)
	if o.journals != "" {
		err = errors.Join(err, keep(context.WithoutCancel(ctx), cluster, o.journals))
	}
	removed := cluster.Close()
	if err != nil {
		return 0, errors.Join(err, removed)
	}
	text, err := p.report() // whatever could not be removed: it took half an hour
	if err != nil {
		return 0, err
	}
	if o.report == "" {
		_, err = out.Write(text)
	} else {
		err = os.WriteFile(o.report, text, 0o644)
	}
	return p.lost, errors.Join(err, removed)
}

// parse reads the flags; --help is flag.ErrHelp.
func parse(args []string, errs io.Writer) (options, error) {
	o := options{command: "go run ./test/proof"}
	for _, a := range args {
		o.command += " " + a
	}
	flags := flag.NewFlagSet("proof", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprint(errs, usage)
		flags.PrintDefaults()
	}
	flags.Int64Var(&o.requests, "requests", 1_000_000, "`number` of requests through each proxy during the deploys, at least")
	flags.IntVar(&o.replacements, "replacements", 200, "`number` of containers replaced, at least")
	flags.Float64Var(&o.rate, "rate", 650, "requests per second through each proxy")
	flags.DurationVar(&o.rest, "rest", time.Minute, "how long latency is measured at rest before")
	flags.IntVar(&o.abrupt, "abrupt", 12, "`number` of containers replaced while nobody waits, for comparison; 0: none")
	flags.StringVar(&o.deb, "package", "", "rollcall's .deb to install (default: what these sources give)")
	flags.StringVar(&o.report, "report", "", "`file` to write the report to (default: standard output)")
	flags.StringVar(&o.journals, "journals", "", "`directory` to keep the machines' journals in")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	case o.requests < 1 || o.replacements < 1 || o.abrupt < 0:
		return o, errors.New("--requests and --replacements have to be at least 1, --abrupt at least 0")
	case o.rate < 100 || o.rate > 10_000:
		return o, fmt.Errorf("--rate %g is not from 100 to 10000", o.rate)
	case o.rest < time.Second:
		return o, fmt.Errorf("--rest %v is less than a second", o.rest)
	}
	return o, nil
}

// keep writes what every machine has logged to a file named after it.
func keep(ctx context.Context, cluster *machines.Cluster, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, m := range cluster.Machines {
		out, err := m.Run(ctx, "journalctl", "--boot", "--output=short-precise")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, m.Name+".log"), []byte(out), 0o644); err != nil {
			return err
		}
	}
	return nil
}
