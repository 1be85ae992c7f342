package machines

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Config says what to start.
type Config struct {
	Machines int       // 3 have one web server of each kind; more have none on the others
	Package  string    // the .deb to install; what these sources give if empty
	Log      io.Writer // where it tells what it does; nowhere if nil
}

// A Cluster is machines with all that runs on them. The i-th of them has the i-th of Proxies,
// and the applications web@2i-1 and web@2i, each with its sidekick.
type Cluster struct {
	Machines []*Machine

	network *network
	client  *clientv3.Client
	log     io.Writer
	dir     string // of what is built for it
}

// Start gives a cluster in which everything runs and is routed to. It takes some 20 s beside the
// image. The caller closes it.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	c := &Cluster{log: config.Log}
	if c.log == nil {
		c.log = io.Discard
	}
	if err := c.start(ctx, config); err != nil {
		return nil, errors.Join(fmt.Errorf("start %d machines: %w", config.Machines, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, config Config) (err error) {
	if c.dir, err = os.MkdirTemp("", "rollcall-machines-"); err != nil {
		return err
	}
	image, err := Image(ctx)
	if err != nil {
		return err
	}
	name := "rollcall-" + strings.ToLower(rand.Text()[:6])
	if c.network, err = newNetwork(ctx, name); err != nil {
		return err
	}
	for i := range config.Machines {
		c.Machines = append(c.Machines, newMachine(name, c.network, i))
	}
	var client error
	c.client, client = clientv3.New(clientv3.Config{
		Endpoints: strings.Split(c.Endpoints(), ","), DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		// The connection to a machine that was cut off would wait for an answer for many minutes.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
	})
	if err := errors.Join(client, c.prepare(ctx, image, config.Package)); err != nil {
		return err
	}
	c.say("rollcall is installed")
	if err := c.each(ctx, c.launch); err != nil {
		return err
	}
	c.say("everything is launched")
	return nil
}

// prepare boots the machines and installs everything. What has to be built is built meanwhile.
func (c *Cluster) prepare(ctx context.Context, image, deb string) error {
	var hello []byte
	imaged, packaged := make(chan struct{}), make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		defer close(packaged)
		hello, err = application(ctx, c.dir)
		close(imaged)
		if err == nil && deb == "" {
			deb, err = Package(ctx, c.dir, "1.0.0")
		}
		return err
	})
	group.Go(func() error {
		return c.each(ctx, func(ctx context.Context, i int) error {
			m := c.Machines[i]
			if err := m.create(ctx, image); err != nil {
				return err
			}
			if <-imaged; hello == nil {
				return nil // whoever builds says why
			}
			if err := m.engine(ctx, hello); err != nil {
				return err
			}
			if <-packaged; deb == "" {
				return nil
			}
			return c.install(ctx, i, deb)
		})
	})
	return group.Wait()
}

// install takes the way of whoever builds from the sources on the first machine, and the package
// on all others.
func (c *Cluster) install(ctx context.Context, i int, deb string) (err error) {
	if i == 0 {
		err = c.Machines[i].Tree(ctx, c.dir, deb)
	} else {
		err = c.Machines[i].Deb(ctx, deb)
	}
	if err != nil {
		return err
	}
	return c.configure(ctx, c.Machines[i])
}

// each does something to all machines at once.
func (c *Cluster) each(ctx context.Context, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range c.Machines {
		group.Go(func() error {
			if err := do(ctx, i); err != nil {
				return fmt.Errorf("machine %s: %w", c.Machines[i].Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// Close removes everything that was started, and all it kept.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	// Not by each: what cannot be removed would end the removal of the others.
	removed := make([]error, len(c.Machines))
	var group sync.WaitGroup
	for i, m := range c.Machines {
		group.Go(func() { removed[i] = m.remove(ctx) })
	}
	group.Wait()
	errs = append(errs, removed...)
	if c.network != nil {
		errs = append(errs, c.network.remove(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// Endpoints are the client URLs of all etcd members, separated by commas.
func (c *Cluster) Endpoints() string { return c.urls(2379, "") }

// Client speaks to etcd from the host. Close ends it.
func (c *Cluster) Client() *clientv3.Client { return c.client }

// urls lists one of each machine, as etcd's flags want them: with their names, if they are to
// be told apart.
func (c *Cluster) urls(port int, separator string) string {
	var list []string
	for _, m := range c.Machines {
		url := fmt.Sprintf("http://%s:%d", m.Address, port)
		if separator != "" {
			url = m.Name + separator + url
		}
		list = append(list, url)
	}
	return strings.Join(list, ",")
}

func (c *Cluster) say(what string) {
	fmt.Fprintf(c.log, "%s machines: %s\n", time.Now().Format("15:04:05.000"), what)
}
