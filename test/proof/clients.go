package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rollcall/test/loadgen"
	"rollcall/test/machines"
)

// Those who use their connection once in a while only, behind each proxy.
const (
	rare      = 100
	rareEvery = 2 * time.Second
	steady    = 200 // those who use theirs all the time
)

// load is what is sent to one proxy: of every class much, and of nothing so much that the others
// vanish beside it.
func load(address string, rate float64, seed int) loadgen.Config {
	return loadgen.Config{
		URL: "http://" + address + "/", Host: machines.Service,
		Rate: rate - rare/rareEvery.Seconds(), Clients: steady,
		Fresh: .2, Post: .3, Slow: .03, SlowFor: 2 * time.Second,
		Rare: rare, RareEvery: rareEvery, Timeout: 30 * time.Second, Seed: uint64(seed),
	}
}

// clients send requests through all proxies at once.
type clients struct {
	loads []*loadgen.Load // in the order of machines.Proxies
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// send begins, and returns when every proxy answers as many requests as it is sent in a second.
func send(ctx context.Context, cluster *machines.Cluster, rate float64) (*clients, error) {
	sending, stop := context.WithCancel(ctx)
	c := &clients{stop: stop}
	for i, kind := range machines.Proxies() {
		l, err := loadgen.New(load(cluster.Proxy(kind).Address.String(), rate, i+1))
		if err != nil {
			stop()
			return nil, err
		}
		c.loads = append(c.loads, l)
	}
	for _, l := range c.loads {
		c.done.Go(func() { l.Run(sending) })
	}
	for i, l := range c.loads {
		kind := machines.Proxies()[i]
		err := machines.Poll(ctx, kind+" answers", func() error {
			if r := l.Snapshot(); float64(r.Counts[loadgen.OK]) < rate {
				return fmt.Errorf("%d of %d requests were answered", r.Counts[loadgen.OK], r.Sent())
			}
			return nil
		})
		if err != nil {
			c.end()
			return nil, err
		}
	}
	return c, nil
}

// end waits for the answers that are still due.
func (c *clients) end() {
	c.stop()
	c.done.Wait()
}

// counted gives what has been counted so far, behind each proxy.
func (c *clients) counted() []loadgen.Result {
	var all []loadgen.Result
	for _, l := range c.loads {
		all = append(all, l.Snapshot())
	}
	return all
}

// since gives what has been counted after an earlier count.
func (c *clients) since(before []loadgen.Result) []loadgen.Result {
	all := c.counted()
	for i := range all {
		all[i] = all[i].Since(&before[i])
	}
	return all
}

// sent is the least that was sent to any proxy after an earlier count. What ended after it may
// have been sent before it, by as many clients as there are: they are taken off.
func (c *clients) sent(before []loadgen.Result) int64 {
	least := int64(-1)
	for _, r := range c.since(before) {
		if n := r.Sent() - steady - rare; least < 0 || n < least {
			least = n
		}
	}
	return least
}

// lost counts the failures behind all proxies.
func lost(all []loadgen.Result) (n int64) {
	for _, r := range all {
		n += r.Lost()
	}
	return n
}
