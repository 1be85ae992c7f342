// Command demo shows rollcall at work, for real: containers that come, go and are
// replaced behind a balancer, while clients send requests and count what they lose.
// make demo builds what it needs and runs it.
//
// It uses the two programs and the docker command as a person would and knows
// nothing of their inside. Whatever it started is gone when it ends.
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
	"slices"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) (code int) {
	o := options{}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.proxy, "proxy", "nginx", "nginx, apache or haproxy")
	flags.BoolVar(&o.once, "once", false, "leave at the end instead of staying up; exit 1 if anything was lost")
	flags.IntVar(&o.port, "port", 8080, "public `port` on 127.0.0.1; another if it is taken")
	flags.Float64Var(&o.rate, "rate", 300, "requests per second")
	flags.BoolVar(&o.strict, "strict", false, "clients that never send a GET again and POST on kept connections")
	flags.StringVar(&o.bin, "bin", programs(), "`directory` with announce, render and hello")
	flags.StringVar(&o.dockerfile, "dockerfile", "examples/hello/Dockerfile", "of the demo image")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if err := o.validate(); err != nil {
		fmt.Fprintln(errs, "demo:", err)
		return 2
	}

	interrupted, patience, release := signals()
	defer release()
	d := newDemo(patience, o, newTeller(out))
	// Before everything that could fail, so that nothing stays, not even after a panic.
	defer func() {
		if err := d.cleanup(); err != nil {
			fmt.Fprintln(errs, "demo: clean up:", err)
			code = 1
		} else {
			d.tell.end(true, "everything that was started is gone")
		}
		d.summary()
	}()
	defer context.AfterFunc(interrupted, func() { d.tell.say("\nending; Ctrl-C again does it at once") })()
	err := d.play(interrupted)
	switch {
	case err == nil:
		return 0
	case interrupted.Err() != nil && !d.shown:
		return 130
	case interrupted.Err() != nil:
		// Having shown everything it stays up until Ctrl-C, which is then no failure.
		if d.lost > 0 {
			return 1
		}
		return 0
	default:
		d.fail(err)
		return 1
	}
}

// signals gives two contexts: the first ends with the first Ctrl-C or TERM, which
// asks for an orderly end; the second with the next, which asks for one at once.
// A third finds Go's own answer, which is to die.
func signals() (interrupted, patience context.Context, release func()) {
	interrupted, first := context.WithCancel(context.Background())
	patience, second := context.WithCancel(context.Background())
	c := make(chan os.Signal, 2)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for _, cancel := range []func(){first, second} {
			select {
			case <-c:
				cancel()
			case <-done:
				return
			}
		}
		signal.Stop(c)
	}()
	return interrupted, patience, func() {
		signal.Stop(c)
		close(done)
		first()
		second()
	}
}

// programs is where this one was built, with the others beside it.
func programs() string {
	self, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(self)
}

type options struct {
	proxy, bin, dockerfile string
	once, strict           bool
	port                   int
	rate                   float64
}

func (o *options) validate() error {
	var errs []error
	if !slices.Contains([]string{"nginx", "apache", "haproxy"}, o.proxy) {
		errs = append(errs, fmt.Errorf("proxy %q is none of nginx, apache and haproxy", o.proxy))
	}
	if o.port < 1 || o.port > 65535 {
		errs = append(errs, fmt.Errorf("port %d is not from 1 to 65535", o.port))
	}
	if o.rate < 10 || o.rate > 2000 {
		errs = append(errs, fmt.Errorf("rate %g is not from 10 to 2000 a second", o.rate))
	}
	for _, program := range []string{"announce", "render", "hello"} {
		if _, err := os.Stat(filepath.Join(o.bin, program)); err != nil {
			errs = append(errs, fmt.Errorf("%w; make demo builds it", err))
		}
	}
	return errors.Join(errs...)
}
