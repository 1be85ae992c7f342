package machines_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/test/loadgen"
	"rollcall/test/machines"
)

// limit is how long a user waits for an answer.
const limit = 10 * time.Second

// users send about 150 requests a second through each of some web servers. Other than with
// traffic, it is known of each lost GET when it was begun.
type users struct {
	t    *testing.T
	stop context.CancelFunc
	done sync.WaitGroup
	at   []*entrance
}

// An entrance is a web server with its users: those that may send a request again, and those
// that may not.
type entrance struct {
	kind        string
	gets, posts *loadgen.Load
	began       time.Time // of gets
}

// arrive returns when every web server has answered some.
func arrive(t *testing.T, c *machines.Cluster, kinds ...string) *users {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	u := &users{t: t, stop: stop}
	t.Cleanup(func() {
		stop()
		u.done.Wait()
	})
	start := func(kind string, rate, post float64) *loadgen.Load {
		config := loadgen.Default("http://" + c.Proxy(kind).Address.String() + "/")
		config.Host, config.Timeout = machines.Service, limit
		config.Rate, config.Clients, config.Post, config.Slow = rate, 60, post, .04
		config.Rare, config.RareEvery = 10, time.Second
		load, err := loadgen.New(config)
		if err != nil {
			t.Fatal(err)
		}
		u.done.Go(func() { load.Run(ctx) })
		return load
	}
	for _, kind := range kinds {
		u.at = append(u.at, &entrance{kind: kind, gets: start(kind, 100, 0), posts: start(kind, 30, 1)})
	}
	u.flow()
	for _, e := range u.at {
		s := e.gets.Snapshot()
		e.began = time.Now().Add(-s.Took)
	}
	return u
}

// flow waits until every web server has answered fifty more.
func (u *users) flow() {
	u.t.Helper()
	for _, e := range u.at {
		before := e.gets.Snapshot()
		err := machines.Poll(u.t.Context(), e.kind+" answers requests", func() error {
			now := e.gets.Snapshot()
			if n := now.Counts[loadgen.OK] - before.Counts[loadgen.OK]; n < 50 {
				return fmt.Errorf("it has answered %d", n)
			}
			return nil
		})
		if err != nil {
			u.t.Fatal(err)
		}
	}
}

// leave ends the load and waits for the last answers.
func (u *users) leave() {
	u.stop()
	u.done.Wait()
}

// A toll is what users lost behind one web server.
type toll struct {
	kind        string
	sent        int64
	gets, posts int64
	early, late int           // GETs that were begun before a moment, and after it
	sentBefore  int           // those of early that had all the time to be sent on
	last        time.Duration // how long after it the last of those was begun
	failures    []string
}

func (t *toll) String() string {
	return fmt.Sprintf("%s: %d sent, %d GETs lost (%d begun before the loss, %d after it, the last %.2fs), %d POSTs lost",
		t.kind, t.sent, t.gets, t.early, t.late, t.last.Seconds(), t.posts)
}

// count gives what was lost, with the GETs told apart by when they were begun. A timeout was
// begun as long before as users wait; of any other failure only its end is known.
func (u *users) count(moment time.Time) []*toll {
	u.t.Helper()
	u.leave()
	var tolls []*toll
	for _, e := range u.at {
		gets, posts := e.gets.Snapshot(), e.posts.Snapshot()
		t := &toll{kind: e.kind, sent: gets.Sent() + posts.Sent(), gets: gets.Lost(), posts: posts.Lost()}
		if int(gets.Lost()) > len(gets.Failures) {
			u.t.Errorf("behind %s %d GETs are lost, more than it is known of when they were begun", e.kind, gets.Lost())
		}
		for _, f := range gets.Failures {
			at := e.began.Add(f.At)
			if f.Kind == loadgen.Timeout {
				at = at.Add(-limit)
			}
			after := at.Sub(moment)
			t.failures = append(t.failures, fmt.Sprintf("%+.3fs %s %s: %s", after.Seconds(), f.Class, f.Kind, f.Text))
			if after < 0 {
				t.early++
				if after < -500*time.Millisecond {
					t.sentBefore++
				}
				continue
			}
			t.late++
			t.last = max(t.last, after)
		}
		u.t.Log(t, "\n", strings.Join(t.failures, "\n"))
		tolls = append(tolls, t)
	}
	return tolls
}

// nothingLost ends the load and fails the test for each lost request.
func (u *users) nothingLost() {
	u.t.Helper()
	u.leave()
	for _, e := range u.at {
		for _, load := range []*loadgen.Load{e.gets, e.posts} {
			r := load.Snapshot()
			u.t.Logf("%s: %s", e.kind, &r)
			if r.Lost() > 0 {
				r.Print(u.t.Output())
				u.t.Errorf("behind %s %d of %d requests are lost, want none", e.kind, r.Lost(), r.Sent())
			}
		}
	}
}
