package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
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

	if err := errors.Join(o.makeRunDir(), o.prepare(stop.Graceful, true)); err != nil {
		return err
	}
	driven, err := o.drive()
	if err != nil {
		return err
	}
	lifecycle.OnStop("ways to the server", time.Second, func(context.Context) error { return driven.close() })
	transaction := reload.New(reload.Config{Proxy: driven.proxy, Logger: o.logger, Timeouts: o.timeouts()})
	lifecycle.OnStop("transaction", time.Second, func(context.Context) error { return transaction.Close() })
	// Before anything touches the server: it may be another render's.
	if err := transaction.Lock(o.kept()...); err != nil {
		return err
	}

	source := etcd.NewSource(client, o.source(d.Metrics))
	acknowledger := etcd.NewAcknowledger(client, o.logger)
	r := renderer.New(o.rendering(transaction, source, acknowledger, d.Metrics))
	readiness.Add("etcd", source.Healthy)
	readiness.Add("acknowledgements", acknowledger.Healthy)
	readiness.Add("balancer", r.Ready)
	status, err := d.Answer(o.statusListen, func() any { return o.report(stop.Now, r, client) })
	if err != nil {
		return fmt.Errorf("%w\n   hint: --status-listen chooses another address, or none", err)
	}
	// The renderer stays on the list until its server has answered the last request:
	// whoever is not on it is not waited for.
	lifecycle.Go("acknowledgements", acknowledger.Run)
	if driven.run != nil {
		o.startServer(lifecycle, driven.run)
	}
	lifecycle.Go("renderer", r.Run)
	o.logger.Info("rendering", "proxy", o.name, "output", o.outputs, "prefix", o.prefix, "listen", o.listen, "id", o.id, "status", status.Addr())
	return nil
}

// kept are the files that no other render may keep: of two supervised servers with one
// pid file and one control socket each would be taken for the other.
func (o *options) kept() []string {
	if o.supervise {
		return append(slices.Clone(o.outputs), o.pidFile)
	}
	return o.outputs
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
	if !o.server() {
		return nil // nothing of whoever reads the files is there
	}
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

// timeouts bound what is run; a command of the operator's may need longer than a server.
func (o *options) timeouts() reload.Timeouts {
	t := reload.Timeouts{Validate: o.timeout, Reload: o.timeout, Gate: o.balancer.Settings.Gate}
	if o.commands.confirm != nil {
		t.Confirm = o.timeout
	}
	return t
}

func (o *options) source(reg prometheus.Registerer) etcd.SourceConfig {
	return etcd.SourceConfig{
		Prefix: o.prefix, MaxLoss: o.loss, Hold: o.hold, Cache: o.cache, Logger: o.logger, Registerer: reg,
	}
}

func (o *options) rendering(t renderer.Applier, source renderer.Source, acks renderer.Acknowledger, reg prometheus.Registerer) renderer.Config {
	return renderer.Config{
		ID: o.id, Node: o.node, Prefix: o.prefix, Routing: o.routing, Balancer: o.balancer,
		Ahead: len(o.templates) == 0, Secret: o.inFile(), Dial: new(net.Dialer).DialContext,
		Inputs: o.inputs, Outputs: o.outputs, AssetDir: reload.AssetDir(o.outputs[0]),
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
	if err := errors.Join(o.makeRunDir(), o.prepare(ctx, true)); err != nil {
		return err
	}
	driven, err := o.drive()
	if err != nil {
		return err
	}
	defer driven.close() //nolint:errcheck // nothing is left to be said to the server
	transaction := reload.New(reload.Config{Proxy: driven.proxy, Logger: o.logger, Timeouts: o.timeouts()})
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
	if err := o.prepare(ctx, false); err != nil {
		return err
	}
	text, err := renderer.New(o.rendering(nil, nil, nil, prometheus.NewRegistry())).Diff(ctx, c)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}
