package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

// A demo is one run of the show.
type demo struct {
	options
	tell     *teller
	patience context.Context // ends when nobody wants to wait for an orderly end

	tag       string // makes this run's containers and images unlike all others on the machine
	dir       string
	url       string // where clients ask
	endpoints string // of the embedded etcd
	address   string // of the machine, as announced

	render, announce *process
	images           []string
	started          int         // containers so far
	late             atomic.Bool // the engine may still be making something

	sent, lost, retried int64 // over all phases
	failures            []string

	shown  bool // the show has come to its end
	summed bool

	stops []stop
}

// A stop ends something that was started; the last started is stopped first.
type stop struct {
	what string
	do   func(context.Context) error
}

func newDemo(patience context.Context, o options, tell *teller) *demo {
	return &demo{options: o, tell: tell, patience: patience, tag: strconv.Itoa(os.Getpid())}
}

func (d *demo) onStop(what string, do func(context.Context) error) {
	d.stops = append(d.stops, stop{what, do})
}

// play shows everything and, unless it is to be seen once, stays until ctx ends.
func (d *demo) play(ctx context.Context) error {
	if err := adopt(); err != nil {
		return err
	}
	var err error
	if d.dir, err = os.MkdirTemp("", "rollcall-demo-"); err != nil {
		return err
	}
	// A server that gives up its rights must get to its files.
	if err := os.Chmod(d.dir, 0o755); err != nil {
		return err
	}
	d.onStop("remove "+d.dir, func(context.Context) error { return os.RemoveAll(d.dir) })
	d.onStop("remove containers and images", d.remove)
	d.onStop("end orphans", func(context.Context) error {
		if err := killOrphans(); err != nil && d.patience.Err() == nil {
			return err
		}
		return nil
	})

	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	d.tell.say("rollcall demo: containers come, go and are replaced behind %s, and clients count what they lose.\n", d.proxy)
	if err := d.prepare(ctx, end); err != nil {
		return err
	}
	if err := d.show(ctx); err != nil {
		return err
	}
	d.shown = true
	if d.lost > 0 {
		d.explain()
	}
	if d.once {
		if d.lost > 0 {
			return errLost
		}
		return nil
	}
	d.summary()
	d.tell.say(`
It stays up until Ctrl-C. For example, in another terminal:
    curl -i %s
    docker run --detach --publish-all --hostname web-x %s
    %s list --endpoints %s
    go run ./test/load %s`, d.url, d.image("v2"), filepath.Join(d.bin, "announce"), d.endpoints, d.url)
	<-ctx.Done()
	return context.Cause(ctx)
}

// errLost is told by the summary.
var errLost = errors.New("requests were lost")

// prepare builds the image and starts the two programs.
func (d *demo) prepare(ctx context.Context, end context.CancelCauseFunc) error {
	d.tell.begin("building the demo image")
	if err := d.buildImages(ctx); err != nil {
		return err
	}
	d.tell.end(true, "image built FROM scratch in two versions: %s, %s", d.image("v1"), d.image("v2"))

	var err error
	if d.address, err = machineAddress(ctx); err != nil {
		return err
	}
	ports, err := freePorts(d.port, 4)
	if err != nil {
		return err
	}
	local := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i])) }
	d.url, d.endpoints = "http://"+local(0)+"/", "http://"+local(1)

	d.tell.begin("starting render")
	d.render, err = d.run(end, "render", d.proxy, "--supervise", "--embed-etcd", filepath.Join(d.dir, "etcd"), "--endpoints", d.endpoints,
		"--listen", local(0), "--service", service, "--run-dir", filepath.Join(d.dir, "run"),
		"--status-listen", local(2), "--log-format", "text")
	if err != nil {
		return err
	}
	if err := ready(ctx, "render", local(2)); err != nil {
		return err
	}
	d.tell.end(true, "render runs %s on %s and an etcd on %s", d.proxy, d.url, d.endpoints)

	d.tell.begin("starting announce")
	d.announce, err = d.run(end, "announce", "--endpoints", d.endpoints, "--address", d.address, "--explicit", "--ttl", "5s",
		"--state-dir", filepath.Join(d.dir, "state"), "--listen", local(3), "--log-format", "text")
	if err != nil {
		return err
	}
	if err := ready(ctx, "announce", local(3)); err != nil {
		return err
	}
	d.tell.end(true, "announce watches this machine's containers; its address is %s", d.address)
	return nil
}

// run starts a program that is to stay; its end before its time is the show's.
func (d *demo) run(end context.CancelCauseFunc, name string, args ...string) (*process, error) {
	p, err := start(d.dir, name, filepath.Join(d.bin, name), args...)
	if err != nil {
		return nil, err
	}
	stopping := make(chan struct{})
	go func() {
		select {
		case <-p.done:
			end(fmt.Errorf("%s ended before its time: %s", name, p.cmd.ProcessState))
		case <-stopping:
		}
	}()
	d.onStop("stop "+name, func(ctx context.Context) error {
		close(stopping)
		return p.stop(ctx, d.patience.Done())
	})
	return p, nil
}

// ready waits until a program says so itself.
func ready(ctx context.Context, name, status string) error {
	var last string
	err := poll(ctx, 15*time.Second, name+" gets ready", func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+status+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil // it does not listen yet
		}
		defer resp.Body.Close()
		last = resp.Status
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil && last != "" {
		return fmt.Errorf("%w (/readyz says %s)", err, last)
	}
	return err
}

// fail tells why the show could not go on, with the programs' own last words.
func (d *demo) fail(err error) {
	d.tell.abandon()
	if errors.Is(err, errLost) {
		return
	}
	d.tell.say("✗ %v", err)
	for _, p := range []*process{d.render, d.announce} {
		if p != nil {
			d.tell.say("  %s said last:\n%s", p.name, p.tail(15))
		}
	}
}

// cleanup ends and removes all that was started, in reverse. One thing that cannot
// be removed does not keep the others.
func (d *demo) cleanup() error {
	d.tell.abandon()
	var errs []error
	for i := len(d.stops) - 1; i >= 0; i-- {
		// Not from the context of the show, which has ended.
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if err := d.stops[i].do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.stops[i].what, err))
		}
		cancel()
	}
	d.stops = nil
	return errors.Join(errs...)
}

// explain tells what was lost, and what the balancer had to say meanwhile.
func (d *demo) explain() {
	for _, f := range d.failures {
		d.tell.say("lost: %s", f)
	}
	if warnings := d.render.warnings(10); warnings != "" {
		d.tell.say("render warned:\n%s", warnings)
	}
}

// alsoAgain says what else clients send again.
func (d *demo) alsoAgain() string {
	if d.proxy == "apache" {
		return " or Apache answered 502 for the container that was killed"
	}
	return ""
}

// summary tells what the clients of all phases saw together.
func (d *demo) summary() {
	if d.summed || d.sent == 0 {
		return
	}
	d.summed = true
	if d.retried > 0 {
		d.tell.say("GETs that clients sent again, because a reload closed their kept connection%s: %d", d.alsoAgain(), d.retried)
	}
	d.tell.say("requests sent %d, lost %d", d.sent, d.lost)
}

// freePorts gives n free ports on 127.0.0.1, the first of them the preferred one if
// it is free. All are held until the last is found, so that no two are the same.
func freePorts(preferred, n int) ([]int, error) {
	var ports []int
	for i := range n {
		port := 0
		if i == 0 {
			port = preferred
		}
		ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil && port != 0 {
			ln, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		}
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
