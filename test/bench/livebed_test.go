package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"rollcall/internal/discovery"
	"rollcall/test/ports"
)

// pool is the one service, whose members change.
const pool = "pool"

// calmFor is the least time between two changes that a render is told of, a little more
// than what makes the second a lone one, which waits for no other.
const calmFor = 300 * time.Millisecond

// A liveBed is an etcd, and members that all answer, each with its own address.
type liveBed struct {
	tb      testing.TB
	store   *store
	members int
	port    string
}

func newLiveBed(tb testing.TB, members int) *liveBed {
	tb.Helper()
	b := &liveBed{tb: tb, store: startEtcd(tb), members: members, port: fmt.Sprint(ports.Free(tb))}
	// One listener is all members: each has an address of the loopback network.
	l, err := net.Listen("tcp4", ":"+b.port)
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_, _ = io.WriteString(w, local.String())
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	tb.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	})
	return b
}

// A fellow is one member of the pool.
type fellow struct{ name, host, record string }

// fellow gives one of those that stay. Only two of them may be asked, and that seldom: the
// others have weight 0, so that whoever comes with a large one is the next to be asked. By
// turns, it would be asked after thousands of others, and nobody could see when it could.
func (b *liveBed) fellow(i int) fellow {
	weight := 0
	if i < 2 {
		weight = 1
	}
	return b.make(fmt.Sprintf("core-%05d", i), fmt.Sprintf("127.1.%d.%d", i/200, i%200+1), weight)
}

// newcomer gives the nth who joins and leaves, in the middle of the others.
func (b *liveBed) newcomer(n int) fellow {
	return b.make(fmt.Sprintf("core-%05d-%d", b.members/2, n), fmt.Sprintf("127.2.%d.%d", n/200, n%200+1), 256)
}

func (b *liveBed) make(name, host string, weight int) fellow {
	return fellow{name, host, fmt.Sprintf(`{"host":%q,"port":%s,"weight":%d,"version":"52c7248a14"}`, host, b.port, weight)}
}

// address is what it answers with.
func (b *liveBed) address(f fellow) string { return net.JoinHostPort(f.host, b.port) }

func (b *liveBed) key(prefix string, f fellow) string { return prefix + "/" + pool + "/" + f.name }

// fill writes all that stay below a prefix.
func (b *liveBed) fill(prefix string) {
	b.tb.Helper()
	var group errgroup.Group
	group.SetLimit(32)
	for i := range b.members {
		group.Go(func() error {
			f := b.fellow(i)
			_, err := b.store.client.Put(b.tb.Context(), b.key(prefix, f), f.record)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.tb.Fatal(err)
	}
}

// A contestant makes a server follow the pool.
type contestant interface {
	// join lets a newcomer in, and gives how long it took until it answered a client. It
	// returns when everything has come to rest.
	join(f fellow) time.Duration
	// leave gives how long it took until no accepting worker asks it any more, and until
	// nothing is left of what might.
	leave(f fellow) (applied, drained time.Duration)
}

// A rendered contestant is a render with its server.
type rendered struct {
	*liveBed
	front   front
	prefix  string
	process *process
	acks    <-chan sighting
	ack     discovery.Acknowledgement // the latest
	at      time.Time                 // when it was seen
	changed time.Time                 // the last time
}

var _ contestant = (*rendered)(nil)

// newRendered returns when the server serves the whole pool. Its name is that of the
// records' prefix and of the acknowledgement.
func newRendered(b *liveBed, proxy, name string, flags ...string) *rendered {
	b.tb.Helper()
	r := &rendered{liveBed: b, front: newFront(b.tb, proxy), prefix: "/" + name, acks: b.store.follow(discovery.RenderersPrefix + "/" + name)}
	b.fill(r.prefix)
	args := []string{
		proxy, "--supervise", "--endpoints", b.store.endpoint, "--run-dir", r.front.dir, "--listen", r.front.listen,
		"--control", r.front.control, "--id", name, "--status-listen", "", "--prefix", r.prefix, "--service", pool,
	}
	r.process = launch(b.tb, nil, built.program(b.tb, "render"), append(args, flags...)...)
	b.tb.Cleanup(r.process.stop)
	r.drained(b.store.revision())
	return r
}

func (r *rendered) applied(revision int64) time.Time {
	r.tb.Helper()
	return r.said(fmt.Sprintf("revision %d is applied", revision), func(a discovery.Acknowledgement) bool { return a.Applied >= revision && a.Healthy })
}

func (r *rendered) drained(revision int64) time.Time {
	r.tb.Helper()
	return r.said(fmt.Sprintf("revision %d is drained", revision), func(a discovery.Acknowledgement) bool { return a.Drained >= revision })
}

// said waits until what render says of itself is as wanted, and gives when it said so.
func (r *rendered) said(what string, ok func(discovery.Acknowledgement) bool) time.Time {
	r.tb.Helper()
	deadline := time.After(patience)
	for !ok(r.ack) {
		select {
		case s := <-r.acks:
			r.ack, r.at = discovery.Acknowledgement{}, s.at
			if err := json.Unmarshal(s.value, &r.ack); !s.deleted && err != nil {
				r.tb.Fatal(err)
			}
		case <-deadline:
			r.tb.Fatalf("%s: not within %s; the last was %+v", what, patience, r.ack)
		}
	}
	return r.at
}

// calm waits until the next change is a lone one, and gives the time.
func (r *rendered) calm() time.Time {
	time.Sleep(time.Until(r.changed.Add(calmFor)))
	r.changed = time.Now()
	return r.changed
}

func (r *rendered) join(f fellow) time.Duration {
	r.tb.Helper()
	began := r.calm()
	revision := r.store.put(r.key(r.prefix, f), f.record)
	answers := r.front.answers(r.tb, began, r.address(f))
	r.drained(revision)
	return answers.Sub(began)
}

func (r *rendered) leave(f fellow) (applied, drained time.Duration) {
	r.tb.Helper()
	began := r.calm()
	revision := r.store.remove(r.key(r.prefix, f))
	applied = r.applied(revision).Sub(began)
	if got, err := r.front.chosen(); err != nil || got == r.address(f) {
		r.tb.Errorf("after it was said that %s is not asked any more, %q answered (%v)", r.address(f), got, err)
	}
	return applied, r.drained(revision).Sub(began)
}
