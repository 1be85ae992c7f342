package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/daemon"
	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
	"rollcall/internal/reload"
	"rollcall/internal/renderer"
)

// onceTimeout bounds what --once and --dry-run wait for etcd.
const onceTimeout = 30 * time.Second

// serve runs until a signal ends it.
func serve(ctx context.Context, o *options) error {
	return daemon.Run(ctx, o.logger, false, func(d *daemon.Parts) error { return start(d, o) })
}

// start starts everything, forward; whatever was started is stopped in reverse.
func start(d *daemon.Parts, o *options) error {
	stop, lifecycle, readiness := d.Stop, d.Lifecycle, d.Readiness
	if err := o.startEtcd(stop.Graceful, lifecycle); err != nil {
		return err
	}
	client, err := o.open(stop.Graceful)
	if err != nil {
		return err
	}
	lifecycle.OnStop("etcd connection", time.Second, func(context.Context) error { return client.Close() })

	if err := o.makeRunDir(); err != nil {
		return err
	}
	master, run := o.server()
	transaction, err := o.transaction(master)
	if err != nil {
		return err
	}
	lifecycle.OnStop("transaction", time.Second, func(context.Context) error { return transaction.Close() })
	// Before anything touches the server: it may be another render's.
	if err := transaction.Lock(o.output); err != nil {
		return err
	}

	source := etcd.NewSource(client, etcd.SourceConfig{Prefix: o.prefix, Logger: o.logger, Registerer: d.Metrics})
	acknowledger := etcd.NewAcknowledger(client, o.logger)
	r := renderer.New(o.rendering(transaction, source, acknowledger, d.Metrics))
	readiness.Add("etcd", source.Healthy)
	readiness.Add("acknowledgements", acknowledger.Healthy)
	readiness.Add("balancer", r.Ready)
	status, err := d.Answer(o.statusListen, func() any { return r.Status() })
	if err != nil {
		return fmt.Errorf("%w\n   hint: --status-listen chooses another address, or none", err)
	}
	// The renderer stays on the list until its server has answered the last request:
	// whoever is not on it is not waited for.
	lifecycle.Go("acknowledgements", acknowledger.Run)
	if run != nil {
		o.startServer(lifecycle, run)
	}
	lifecycle.Go("renderer", r.Run)
	o.logger.Info("rendering", "proxy", o.name, "output", o.output, "prefix", o.prefix, "listen", o.listen, "id", o.id, "status", status.Addr())
	return nil
}

// startEtcd starts the embedded server, if one is wanted.
func (o *options) startEtcd(ctx context.Context, lifecycle *daemon.Lifecycle) error {
	if o.embedEtcd == "" {
		return nil
	}
	server, err := etcd.StartServer(ctx, o.embedEtcd, o.etcd.Endpoints)
	if err != nil {
		return err
	}
	lifecycle.OnStop("embedded etcd", 10*time.Second, func(context.Context) error {
		server.Close()
		return nil
	})
	lifecycle.Go("embedded etcd", func(ctx context.Context) error {
		select {
		case err := <-server.Failed():
			return err
		case <-ctx.Done():
			return nil
		}
	})
	o.logger.Info("embedded etcd is ready", "endpoints", server.Endpoints(), "dir", o.embedEtcd)
	return nil
}

// server gives the process that reads the configuration: a child of ours, which run
// starts and stops, or the one that runs by itself.
func (o *options) server() (master reload.Master, run func(context.Context) error) {
	if !o.supervise {
		return o.running(o.pidFile), nil
	}
	c := o.child(o.program, o.main, o.pidFile, o.balancer.Control)
	c.Logger, c.StopTimeout = o.logger, o.stopWait
	supervisor := reload.NewSupervisor(c)
	return supervisor, supervisor.Run
}

// startServer runs the supervised server. Its requests get more time to end than
// the lifecycle gives a loop.
func (o *options) startServer(lifecycle *daemon.Lifecycle, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	lifecycle.OnStop(o.name, o.stopWait+5*time.Second, func(context.Context) error {
		cancel()
		return <-done
	})
}

func (o *options) makeRunDir() error {
	if err := os.MkdirAll(o.runDir, 0o755); err != nil {
		return fmt.Errorf("run directory: %w\n   hint: --run-dir chooses another", err)
	}
	return nil
}

func (o *options) open(ctx context.Context) (*etcd.Client, error) {
	user, password := o.etcd.Login()
	return etcd.Open(ctx, etcd.Config{
		Endpoints: o.etcd.Endpoints, CACert: o.etcd.CACert, Cert: o.etcd.Cert, Key: o.etcd.Key,
		User: user, Password: password,
	}, o.logger)
}

func (o *options) transaction(master reload.Master) (*reload.Transaction, error) {
	driver, err := o.driver(o.program, o.main, o.balancer.Control, master)
	if err != nil {
		return nil, err
	}
	return reload.New(reload.Config{Proxy: driver, Logger: o.logger}), nil
}

func (o *options) rendering(t renderer.Applier, source renderer.Source, acks renderer.Acknowledger, reg prometheus.Registerer) renderer.Config {
	return renderer.Config{
		ID: o.id, Node: o.node, Prefix: o.prefix, Routing: o.routing, Balancer: o.balancer, Template: o.tmpl, Output: o.output,
		MinWait: o.minWait, MaxWait: o.maxWait, Source: source, Applier: t, Acknowledger: acks,
		Lookup: net.DefaultResolver.LookupNetIP, Logger: o.logger, Registerer: reg,
	}
}

// catalog reads the present catalog, and gives up when etcd does not answer.
func (o *options) catalog(ctx context.Context) (*discovery.Catalog, error) {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	client, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	c, err := etcd.List(ctx, client, o.prefix, o.logger)
	if err != nil {
		return nil, fmt.Errorf("%w\n   hint: is etcd at %s? --endpoints says where", err, strings.Join(o.etcd.Endpoints, ","))
	}
	return c, nil
}

// once puts the present catalog into service and returns.
func once(ctx context.Context, o *options) error {
	c, err := o.catalog(ctx)
	if err != nil {
		return err
	}
	// The server's own check opens the control socket.
	if err := o.makeRunDir(); err != nil {
		return err
	}
	transaction, err := o.transaction(o.running(o.pidFile))
	if err != nil {
		return err
	}
	defer transaction.Close()
	_, err = renderer.New(o.rendering(transaction, nil, nil, prometheus.NewRegistry())).Once(ctx, c)
	return quoting(err)
}

// quoting adds what the server said to an error that it caused.
func quoting(err error) error {
	step, ok := errors.AsType[*reload.StepError](err)
	if !ok || step.Output == "" {
		return err
	}
	return fmt.Errorf("%w\n   %s", err, strings.ReplaceAll(strings.TrimSpace(step.Output), "\n", "\n   "))
}

// dryRun prints what would change.
func dryRun(ctx context.Context, o *options, w io.Writer) error {
	c, err := o.catalog(ctx)
	if err != nil {
		return err
	}
	text, err := renderer.New(o.rendering(nil, nil, nil, prometheus.NewRegistry())).Diff(ctx, c)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}
