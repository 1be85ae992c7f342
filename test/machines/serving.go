package machines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// prefix is where records are.
const prefix = "/services/"

// Answering asks the machine's web server for a service so often that each instance it sends
// requests to has to answer, and gives their names in order.
func (m *Machine) Answering(ctx context.Context, service string) ([]string, error) {
	// Others send requests at the same time, so that they go to anybody. And one that hangs is a
	// wrong answer, after which whoever waits asks again.
	const requests, limit = 120, 10 * time.Second
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: limit}
	names := map[string]bool{}
	for range requests {
		name, err := m.ask(ctx, client, service)
		if err != nil {
			return nil, err
		}
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// ask sends one request and gives the name of who answered.
func (m *Machine) ask(ctx context.Context, client *http.Client, service string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address.String()+"/", http.NoBody)
	if err != nil {
		return "", err
	}
	req.Host = service
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", m.Name, res.Status)
	}
	return res.Header.Get("X-Instance"), nil
}

// Births gives the revision at which each record of a service came to be, by instance. It is
// another one once a record was deleted and written again.
func (c *Cluster) Births(ctx context.Context, service string) (map[string]int64, error) {
	at := prefix + service + "/"
	res, err := c.client.Get(ctx, at, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	births := map[string]int64{}
	for _, kv := range res.Kvs {
		births[string(kv.Key[len(at):])] = kv.CreateRevision
	}
	return births, nil
}

// Serves says in an error what is wrong unless exactly these instances of the service have a
// record, the web servers of these machines send requests to exactly them, and each has proven
// it. The names are in order; a machine that is not among those asked is taken for lost.
func (c *Cluster) Serves(ctx context.Context, service string, want []string, on []*Machine) error {
	var group sync.WaitGroup
	errs := make([]error, len(c.Machines)+1)
	proofs := 0
	for i, m := range c.Machines {
		if i >= len(Proxies()) || !slices.Contains(on, m) {
			continue
		}
		proofs++
		group.Go(func() {
			switch answering, err := m.Answering(ctx, service); {
			case err != nil:
				errs[i] = fmt.Errorf("%s: %w", Proxies()[i], err)
			case !slices.Equal(answering, want):
				errs[i] = fmt.Errorf("behind %s %v answer, want %v", Proxies()[i], answering, want)
			}
		})
	}
	group.Wait()
	errs[len(c.Machines)] = c.listed(ctx, service, want, on[0], proofs)
	return errors.Join(errs...)
}

// listed compares with what 'announce list' says on a machine.
func (c *Cluster) listed(ctx context.Context, service string, want []string, on *Machine, proofs int) error {
	out, err := on.Run(ctx, "announce", "list", service, "--output", "json", "--endpoints", c.Endpoints())
	if err != nil {
		return err
	}
	var list []struct {
		Instance string
		RoutedBy []string `json:"routed_by"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return fmt.Errorf("announce list: %w", err)
	}
	var names []string
	var errs []error
	for _, l := range list {
		names = append(names, l.Instance)
		if len(l.RoutedBy) != proofs {
			errs = append(errs, fmt.Errorf("%s is routed by %v, want %d web servers", l.Instance, l.RoutedBy, proofs))
		}
	}
	if !slices.Equal(names, want) {
		errs = append(errs, fmt.Errorf("records of %s are %v, want %v", service, names, want))
	}
	return errors.Join(errs...)
}
