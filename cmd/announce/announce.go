package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	"rollcall/internal/announcer"
	"rollcall/internal/check"
	"rollcall/internal/daemon"
	"rollcall/internal/discovery/docker"
	"rollcall/internal/discovery/etcd"
)

// announce runs until a signal ends it.
func announce(ctx context.Context, o *options) error {
	return daemon.Run(ctx, o.logger, true, func(d *daemon.Parts) error { return start(d, o) })
}

// start starts everything, forward; whatever was started is stopped in reverse.
func start(d *daemon.Parts, o *options) error {
	stop, lifecycle, readiness := d.Stop, d.Lifecycle, d.Readiness
	watcher, err := docker.Open(docker.Config{Name: o.container, Logger: o.logger, Registerer: d.Metrics})
	if err != nil {
		return err
	}
	client, err := o.open(stop.Graceful)
	if err != nil {
		return err
	}
	lifecycle.OnStop("etcd connection", time.Second, func(context.Context) error { return client.Close() })
	records, err := etcd.NewRegistry(client, etcd.RegistryConfig{
		Prefix: o.prefix, TTL: o.ttl, StateFile: o.stateFile(),
		Takeover: o.takeover, Logger: o.logger, Registerer: d.Metrics,
	})
	if err != nil {
		return fmt.Errorf("%w\n   hint: --state-dir says where", err)
	}
	lifecycle.OnStop("state file", time.Second, func(context.Context) error { return records.Close() })
	drains := etcd.NewDrains(client, o.logger)
	a := announcer.New(announcer.Config{
		Rules: o.rules, Containers: watcher, Drains: drains, Registry: records,
		Checks: func(changed func(string)) announcer.Checks {
			return check.New(check.Config{Changed: changed, Logger: o.logger, Registerer: d.Metrics})
		},
		Logger: o.logger, Registerer: d.Metrics,
	})

	readiness.Add("docker", watcher.Healthy)
	readiness.Add("etcd", records.Healthy)
	readiness.Add("drains", drains.Healthy)
	readiness.Add("containers", a.Ready)
	readiness.Add("records", records.Current)
	opening := &announcer.Opening{
		Announcer: a, Written: records.Current, Waiter: o.waiter(client), Limit: o.waitRouted, Logger: o.logger,
	}
	if o.waitRouted > 0 {
		readiness.Add("routed", opening.Check)
	}
	status, err := d.Answer(o.listen, func() any { return report(a, records) })
	if err != nil {
		return fmt.Errorf("%w\n   hint: --listen chooses another address, or none", err)
	}
	withdraw := func() bool { return stop.Graceful.Err() != nil && !stop.Keeping() }
	lifecycle.OnStop("lease", 5*time.Second, func(ctx context.Context) error {
		if !withdraw() {
			return nil
		}
		return records.Release(ctx)
	})
	lifecycle.Go("registry", records.Run)
	// Registered before the announcer starts, so that it has stopped when this runs:
	// it would announce again what is being withdrawn.
	lifecycle.OnStop("withdrawal", o.drainTimeout, func(ctx context.Context) error {
		if !withdraw() {
			o.logger.Info("leaving the records for the successor", "ttl", o.ttl.String())
			return nil
		}
		return o.withdraw(ctx, client, records, a)
	})
	lifecycle.Go("announcer", a.Run)
	if o.waitRouted > 0 {
		lifecycle.Go("opening", opening.Run)
	}
	if o.rules.Bridge(o.rules.Address) {
		o.logger.Warn("address is a container bridge's own: only this machine and its containers can reach it", "address", o.rules.Address.String())
	}
	o.logger.Info("announcing", "node", o.rules.Node, "address", o.rules.Address.String(), "prefix", o.prefix,
		"container", o.container, "status", status.Addr())
	return nil
}

// withdraw deletes the records and waits until no balancer uses them.
func (o *options) withdraw(ctx context.Context, client *etcd.Client, records *etcd.Registry, a *announcer.Announcer) error {
	began := time.Now()
	deleted, err := records.Withdraw(ctx)
	if err != nil {
		return intelligible(ctx, fmt.Errorf("%w (they end with their lease, in at most %s)", err, o.ttl), o.drainTimeout)
	}
	removed, dead := removals(deleted, records.Ended(), a.Alive())
	renderers, err := o.waiter(client).Drained(ctx, removed, dead)
	if err != nil {
		return intelligible(ctx, err, o.drainTimeout)
	}
	said := []any{"records", len(deleted), "confirmed_by", renderers, "took", time.Since(began)}
	if renderers == 0 && len(removed)+len(dead) > 0 {
		said = append(said, "note", "no renderer covers them, so there was nobody to wait for")
	}
	o.logger.Info("withdrawn", said...)
	return nil
}

// removals gives what balancers have to be done with: what was deleted now, by id, and what
// ended before, by service. Of that, requests to what is still alive may be running.
func removals(deleted, ended map[string]int64, alive map[string]announcer.Standing) (removed, dead map[string]int64) {
	removed, dead = maps.Clone(deleted), maps.Clone(ended)
	if removed == nil {
		removed = map[string]int64{}
	}
	for id := range alive {
		service, _ := split(id)
		if _, ok := removed[id]; !ok && ended[service] > 0 {
			removed[id] = ended[service]
		}
	}
	return removed, dead
}

// report is what /status shows.
func report(a *announcer.Announcer, records *etcd.Registry) any {
	type row struct {
		Container string `json:"container"`
		Port      string `json:"port,omitempty"`
		Record    string `json:"record,omitempty"`
		Endpoint  string `json:"endpoint,omitempty"`
		Reason    string `json:"reason,omitempty"`
	}
	rows := []row{}
	for _, d := range a.Decisions() {
		r := row{Container: d.Container, Port: d.Port}
		if d.Err != nil {
			r.Reason = d.Err.Error()
		} else {
			r.Record, r.Endpoint = d.Instance.ID(), d.Instance.Endpoint()
		}
		rows = append(rows, r)
	}
	return map[string]any{"containers": rows, "records": records.Held(), "conflicts": records.Conflicts()}
}
