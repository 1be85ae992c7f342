package machines_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/test/loadgen"
	"rollcall/test/machines"
)

// bed is what all tests of the package share: one cluster, started by the first that asks for it.
type bed struct {
	once    sync.Once
	cluster *machines.Cluster
	err     error
}

var shared bed

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.cluster != nil {
		if err := shared.cluster.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "machines:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func (b *bed) start() (*machines.Cluster, error) {
	b.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		b.cluster, b.err = machines.Start(ctx, machines.Config{Machines: 3, Log: os.Stderr})
	})
	return b.cluster, b.err
}

// good gives the shared cluster in its good state: all six applications are routed to by every
// web server. A test that leaves it in any other has failed.
func good(t *testing.T) *machines.Cluster {
	t.Helper()
	c, err := shared.start()
	if err != nil {
		t.Fatal(err)
	}
	settle(t, c, "before the test")
	t.Cleanup(func() { settle(t, c, "after the test") })
	return c
}

// settle waits for the good state.
func settle(t *testing.T, c *machines.Cluster, when string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	err := machines.Poll(ctx, "everything is well "+when, func() error { return c.Serves(ctx, machines.Service, everybody(c), c.Machines) })
	if err != nil {
		t.Error(err)
	}
}

// everybody names all instances but those of some applications.
func everybody(c *machines.Cluster, but ...int) []string {
	var names []string
	for a := 1; a <= c.Applications(); a++ {
		gone := false
		for _, b := range but {
			gone = gone || a == b
		}
		if !gone {
			names = append(names, c.Instance(a))
		}
	}
	return names
}

// A traffic is load through every web server at once.
type traffic struct {
	t     *testing.T
	kinds []string
	loads []*loadgen.Load
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// send begins with about 200 requests a second to each of some kinds of web servers, of every
// class, and returns when each has answered some.
func send(t *testing.T, c *machines.Cluster, kinds ...string) *traffic {
	t.Helper()
	if len(kinds) == 0 {
		kinds = machines.Proxies()
	}
	ctx, stop := context.WithCancel(t.Context())
	tr := &traffic{t: t, kinds: kinds, stop: stop}
	for _, kind := range kinds {
		config := loadgen.Default("http://" + c.Proxy(kind).Address.String() + "/")
		config.Host = machines.Service
		config.Rate, config.Clients, config.Slow, config.Rare = 170, 60, .05, 30
		config.RareEvery, config.Timeout = time.Second, 20*time.Second
		load, err := loadgen.New(config)
		if err != nil {
			t.Fatal(err)
		}
		tr.loads = append(tr.loads, load)
		tr.done.Go(func() { load.Run(ctx) })
	}
	t.Cleanup(func() {
		stop()
		tr.done.Wait()
	})
	tr.flows()
	return tr
}

// flows waits until every web server has answered a hundred more requests.
func (tr *traffic) flows() {
	tr.t.Helper()
	if err := tr.flowing(tr.t.Context()); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *traffic) flowing(ctx context.Context) error {
	before := make([]loadgen.Result, len(tr.loads))
	for i, load := range tr.loads {
		before[i] = load.Snapshot()
	}
	for i, load := range tr.loads {
		err := machines.Poll(ctx, tr.kinds[i]+" answers requests", func() error {
			now := load.Snapshot()
			if n := now.Counts[loadgen.OK] - before[i].Counts[loadgen.OK]; n < 100 {
				return fmt.Errorf("it has answered %d", n)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lost counts the requests that are lost so far, by web server.
func (tr *traffic) lost() []int64 {
	var counts []int64
	for _, load := range tr.loads {
		now := load.Snapshot()
		counts = append(counts, now.Lost())
	}
	return counts
}

// end stops the load, waits for the last answers, and gives what clients saw behind each kind.
func (tr *traffic) end() map[string]*loadgen.Result {
	tr.stop()
	tr.done.Wait()
	results := map[string]*loadgen.Result{}
	for i, load := range tr.loads {
		r := load.Snapshot()
		results[tr.kinds[i]] = &r
		tr.t.Logf("%s: %s%s", tr.kinds[i], &r, howLost(&r))
	}
	return results
}

// howLost counts what is lost by what its client saw.
func howLost(r *loadgen.Result) string {
	var text strings.Builder
	for k := loadgen.Dial; k <= loadgen.Wrong; k++ {
		if n := r.Counts[k]; n > 0 {
			fmt.Fprintf(&text, "; %d (%d POST) %s", n, r.Posts[k], k)
		}
	}
	return text.String()
}

// nothingLost ends the load and fails the test for each lost request.
func (tr *traffic) nothingLost() {
	tr.t.Helper()
	for kind, r := range tr.end() {
		if r.Lost() > 0 {
			r.Print(tr.t.Output())
			tr.t.Errorf("behind %s %d of %d requests are lost, want none", kind, r.Lost(), r.Sent())
		}
		if n := r.Instances[""]; n > 0 {
			tr.t.Errorf("behind %s %d answers are from somebody else than the applications", kind, n)
		}
	}
}
