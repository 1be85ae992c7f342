// Package docker tells which containers run on one Docker engine, as a stream of
// changes: first a complete list, then what happened to whom, and a complete list
// again whenever anything could have been missed. It is the only importer of the
// Docker client. A Watcher only reads (ping, info, list, inspect, events); a Control
// also signals containers and runs commands in them.
//
// It knows nothing of services, records or etcd, and it judges nothing: names,
// labels and environments are handed on as whoever started the container wrote
// them, and have to be validated by whoever uses them.
package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	"github.com/prometheus/client_golang/prometheus"
)

// DefaultResync is how often everything is listed again although nothing seems to be missing.
const DefaultResync = 5 * time.Minute

// requestTimeout bounds each single question to the engine. An engine under load
// takes seconds to inspect a container that it is about to start or stop.
const requestTimeout = 10 * time.Second

// A Container is what the engine says about one container.
type Container struct {
	ID     string
	Name   string            // without the leading slash
	Image  string            // as given at creation, "repo/hello:1.2@sha256:…"
	Labels map[string]string // the image's and the container's own
	Env    map[string]string

	State        string        // running, paused, restarting, created, exited, dead
	Health       string        // starting, healthy, unhealthy; "" without a HEALTHCHECK
	HealthPeriod time.Duration // the longest time from one result of its HEALTHCHECK to the next: interval and timeout; 0 without
	Started      time.Time     // by the engine's clock; zero if it never ran

	NetworkMode string     // default or bridge, host, none, container:<id>, or a network's name
	Shares      *Container // the container whose network this one uses (docker run --network container:X); nil if none, or if it is not there any more
	Ports       []Port     // every exposed or published port, sorted by number and protocol
	Networks    []Network  // sorted by name
}

// A Port is a port of a container. Bindings is empty when it is exposed but not published.
type Port struct {
	Number   uint16
	Proto    string    // tcp, udp, sctp
	Bindings []Binding // sorted
}

// A Binding is the machine's side of a published port. IP is unspecified
// (0.0.0.0, ::) when the port is published on every address of that family.
type Binding struct {
	IP   netip.Addr
	Port uint16
}

// A Network is a container's place in one network. Addresses it does not have are not valid.
type Network struct {
	Name                string
	IPv4, IPv6, Gateway netip.Addr
}

// alive says whether the container has a process, or is about to have one again.
func (c *Container) alive() bool {
	return c.State == "running" || c.State == "paused" || c.State == "restarting"
}

// A Change is what a Watcher learned. Its containers are running, paused or
// restarting; those in Shares may be in any state. Whatever is behind a pointer, a
// map or a slice is shared and must not be changed.
type Change struct {
	// Listed says that Containers and Unknown are all there is: everything else is gone.
	Listed bool
	// Containers are those that appeared or changed, or whose Shares did; when Listed, all.
	Containers []Container
	// Unknown holds, when Listed, the ids of containers that are alive but could not be
	// inspected, or not in time, and never were before. What is kept of them stays as it is; they are
	// asked about again soon.
	Unknown []string
	// Gone holds the ids of containers that died, or no longer have the name that is watched.
	Gone []string
}

// Config says what to watch. The engine is found as the docker command finds it: DOCKER_HOST,
// DOCKER_TLS_VERIFY, DOCKER_CERT_PATH and DOCKER_API_VERSION from the environment.
// Logger and Registerer are required.
type Config struct {
	Name       string        // only the container of exactly this name, which need not exist yet; "" for all
	Resync     time.Duration // time between two lists while nothing is in doubt; DefaultResync if 0
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// A Watcher follows one engine.
type Watcher struct {
	name    string
	resync  time.Duration
	timeout time.Duration // for each request
	log     *slog.Logger
	metrics *metrics
	health  health
	dial    func() (*client.Client, error)
	atOnce  int // inspections at a time

	known *memory
	// Containers whose last inspection failed, by id.
	doubtful map[string]bool
	listed   bool // a complete list has been handed over
}

// Open makes a Watcher. It fails on a DOCKER_… variable that makes no sense or on
// metrics that are already registered, not on an engine that is away: Run waits for that.
func Open(cfg Config) (*Watcher, error) {
	return open(cfg, client.FromEnv)
}

func open(cfg Config, where client.Opt) (*Watcher, error) {
	w := &Watcher{
		name:     cfg.Name,
		resync:   cfg.Resync,
		timeout:  requestTimeout,
		log:      cfg.Logger,
		health:   health{err: errors.New("docker has not been asked yet"), log: cfg.Logger},
		atOnce:   atOnce,
		known:    newMemory(),
		doubtful: map[string]bool{},
	}
	if w.resync == 0 {
		w.resync = DefaultResync
	}
	// Every connection has a client of its own: a client settles on an API version once,
	// and would fail for ever after the engine was replaced by one that refuses it.
	w.dial = func() (*client.Client, error) {
		cli, err := client.NewClientWithOpts(where, client.WithAPIVersionNegotiation())
		if err != nil {
			return nil, fmt.Errorf("docker client from DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH: %w", err)
		}
		return cli, nil
	}
	cli, err := w.dial()
	if err != nil {
		return nil, err
	}
	if err := cli.Close(); err != nil {
		return nil, fmt.Errorf("close docker client: %w", err)
	}
	if w.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, err
	}
	w.health.up = w.metrics.up
	return w, nil
}

// Healthy says whether the engine's events are being followed: nil, or what is wrong.
func (w *Watcher) Healthy() error { return w.health.get() }

// Inspect asks the engine about one container, by name or id, whatever its state
// and whatever the Watcher's own name. It may be called at any time. An error for
// which IsNotFound holds means that there is none; any other says nothing of that.
func (w *Watcher) Inspect(ctx context.Context, nameOrID string) (Container, error) {
	cli, err := w.dial()
	if err != nil {
		return Container{}, err
	}
	c, err := w.inspect(ctx, cli, nameOrID)
	return c, errors.Join(err, cli.Close())
}

// IsNotFound says whether an error of Inspect means that the engine has no such container.
func IsNotFound(err error) bool { return errdefs.IsNotFound(err) }

// Close gives the metrics' names free. Run must have returned.
func (w *Watcher) Close() error {
	w.metrics.close()
	return nil
}
