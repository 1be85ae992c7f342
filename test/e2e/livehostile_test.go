package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A crowd is the records of a service, as it should come to be served.
type crowd struct {
	client  *clientv3.Client
	records map[string]hostile // by name
	marks   []string           // addresses of earlier marks
}

type hostile struct {
	host     string
	port     int
	weight   int
	revision int64
}

func (h hostile) address() string {
	host := strings.ToLower(strings.TrimPrefix(h.host, "::ffff:"))
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprint(host, ":", h.port)
}

func (c *crowd) put(t *testing.T, name, host string, port, weight int) {
	t.Helper()
	res, err := c.client.Put(t.Context(), "/services/web/"+name, fmt.Sprintf(`{"host":%q,"port":%d,"weight":%d}`, host, port, weight))
	if err != nil {
		t.Fatal(err)
	}
	c.records[name] = hostile{host, port, weight, res.Header.Revision}
}

func (c *crowd) remove(t *testing.T, name string) {
	t.Helper()
	if _, err := c.client.Delete(t.Context(), "/services/web/"+name); err != nil {
		t.Fatal(err)
	}
	delete(c.records, name)
}

// mark makes a last change, and gives what the file says that has it.
func (c *crowd) mark(t *testing.T) (address []string) {
	t.Helper()
	if before, ok := c.records["mark"]; ok {
		c.marks = append(c.marks, before.address())
	}
	if len(c.records) == 0 {
		return nil
	}
	c.put(t, "mark", fmt.Sprint("127.9.0.", len(c.marks)+1), 80, 256)
	return []string{c.records["mark"].address()}
}

// wanted lists the addresses that are to get requests: of two with one, the newer counts.
func (c *crowd) wanted() []string {
	newest := map[string]hostile{}
	for _, h := range c.records {
		if h.revision > newest[h.address()].revision {
			newest[h.address()] = h
		}
	}
	maps.DeleteFunc(newest, func(_ string, h hostile) bool { return h.weight == 0 })
	return slices.Sorted(maps.Keys(newest))
}

// weights gives what the running server sends to whom.
func (l *live) weights(t *testing.T) map[string]float64 {
	t.Helper()
	weights := map[string]float64{}
	for address, share := range l.shares(t) {
		weight, err := strconv.ParseFloat(share, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, local := range []string{"127.0.0.1:", "[::1]:"} {
			if strings.TrimPrefix(address, local) == hostByName {
				address = "localhost:" + hostByName
			}
		}
		if weight > 0 {
			weights[address] = weight
		}
	}
	return weights
}

// hostByName is the port of the one that is announced by a name.
const hostByName = "4711"

// Whatever records say that is allowed, and however it changes: the running server comes to
// serve just what its files say, which is what a restart of it makes of them.
func TestMembersAsFilesSay(t *testing.T) {
	onEach(t, func(t *testing.T, proxy string) {
		endpoint := newEtcd(t)
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: patience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		c := &crowd{client: client, records: map[string]hostile{}}
		c.put(t, "a", "127.0.0.1", 9, 100)
		l := startLive(t, proxy, endpoint)
		start := l.counts(t)
		long := strings.Repeat(strings.Repeat("x", 61)+".", 5)
		byName, err := strconv.Atoi(hostByName)
		if err != nil {
			t.Fatal(err)
		}
		names := []string{
			"0", "v2", "backup", "weight", "default-server", "1.2.3.4", "127.0.0.1:80", "core-01:web1:80", "a:2", "a_b.c-d",
			long[:253-2] + "-y", long[:253-2] + "-z", strings.Repeat("y", 63),
		}
		for _, wave := range []struct {
			what string
			make func()
		}{
			{"all come", func() {
				for i, name := range names {
					c.put(t, name, fmt.Sprint("127.1.0.", i+1), 65535-i, []int{0, 1, 99, 100, 101, 256}[i%6])
				}
				c.put(t, "six", "2001:DB8::5", 1, 256)
				c.put(t, "also-six", "::1", 65535, 1)
				c.put(t, "mapped", "::ffff:127.2.0.1", 80, 7)
				c.put(t, "named", "localhost", byName, 100)
				c.put(t, "twin", "127.2.0.2", 80, 100)
				c.put(t, "another-twin", "127.2.0.2", 80, 50)
			}},
			{"they change places", func() {
				one, other := c.records["0"], c.records["v2"]
				c.put(t, "0", other.host, other.port, 30)
				c.put(t, "v2", one.host, one.port, 40)
				c.remove(t, "another-twin") // and the older one is back
				c.put(t, "six", "::1", 65535, 256)
				c.put(t, "mapped", "127.2.0.1", 80, 0)
			}},
			{"two are left", func() {
				for name := range c.records {
					if name != "six" && name != "mark" {
						c.put(t, name, c.records[name].host, c.records[name].port, 0)
					}
				}
				c.remove(t, "a")
			}},
			{"at random", func() {
				for range 150 {
					name := names[rand.IntN(len(names))]
					if rand.IntN(4) == 0 {
						c.remove(t, name)
					} else {
						c.put(t, name, fmt.Sprint("127.3.0.", rand.IntN(8)+1), 80, rand.IntN(257)*rand.IntN(2))
					}
				}
			}},
			{"none is left", func() {
				c.marks = append(c.marks, c.records["mark"].address())
				for name := range c.records {
					if name != "mark" {
						c.remove(t, name)
					}
				}
				c.remove(t, "mark")
			}},
			{"some come back", func() {
				c.put(t, "0", "127.1.0.1", 80, 1)
				c.put(t, "six", "::1", 65535, 256)
			}},
		} {
			wave.make()
			mark := c.mark(t)
			var running map[string]float64
			eventually(t, wave.what+", and run", func() error {
				running = l.weights(t)
				if got, want := slices.Sorted(maps.Keys(running)), c.wanted(); !slices.Equal(got, want) {
					return fmt.Errorf("the server has %q, want %q", got, want)
				}
				return nil
			})
			for _, address := range c.wanted() {
				mark = append(mark, strings.TrimPrefix(address, "localhost"))
			}
			l.written(t, mark, c.marks)
			running = l.weights(t) // it may have been on its way to the last weights
			// Later, a kill may have met render at work.
			if now := l.counts(t); wave.what == "all come" && (now.Reloads != start.Reloads || now.Members <= start.Members) {
				t.Errorf("reloads %d, were %d; members changed %d, were %d", now.Reloads, start.Reloads, now.Members, start.Members)
			}
			last := pidIn(t, l.pid)
			if err := syscall.Kill(last, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			l.restarted(t, last)
			if again := l.weights(t); !maps.EqualFunc(again, running, equally(len(running))) {
				t.Errorf("%s: the server ran with %v, its files say %v", wave.what, running, again)
			}
			if strings.Contains(l.process.output(), "not as they should be") {
				t.Errorf("%s: the files said something else than what ran", wave.what)
			}
		}
	})
}

// equally compares two weights: Apache cuts hundredths off, and gives one that is alone
// whatever it likes.
func equally(members int) func(x, y float64) bool {
	return func(x, y float64) bool { return members < 2 || x-y < 0.015 && y-x < 0.015 }
}
