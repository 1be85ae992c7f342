package loadgen

import "fmt"

// A Class says what connection a request was sent on, and how long it was to take.
type Class int

// Every request is of one class.
const (
	KeepAlive Class = iota // on a connection that is used all the time
	Rare                   // on a connection that its client uses every few seconds only
	Fresh                  // on a connection of its own
	Slow                   // asked to take Config.SlowFor, on whichever connection
	classes
)

// String names the class in a few words.
func (c Class) String() string {
	switch c {
	case KeepAlive:
		return "keep-alive"
	case Rare:
		return "rarely used"
	case Fresh:
		return "new connection"
	case Slow:
		return "slow"
	default:
		return fmt.Sprintf("class %d", int(c))
	}
}

// A Tally counts how requests ended.
type Tally struct {
	Counts  [kinds]int64 // by Kind
	Posts   [kinds]int64 // those of Counts that were POSTs
	Latency Histogram    // of good answers, from when each was due, less what a slow one was asked to take
}

// Sent counts the requests that have ended, well or not.
func (t *Tally) Sent() int64 { return sum(&t.Counts) }

// SentPosts counts those of Sent that were POSTs.
func (t *Tally) SentPosts() int64 { return sum(&t.Posts) }

// Lost counts the requests that failed.
func (t *Tally) Lost() int64 { return t.Sent() - t.Counts[OK] }

// LostPosts counts those of Lost that were POSTs, which nobody may send again.
func (t *Tally) LostPosts() int64 { return t.SentPosts() - t.Posts[OK] }

// LostGets counts the failed requests that a client may send again without a doubt.
func (t *Tally) LostGets() int64 { return t.Lost() - t.LostPosts() }

func (t *Tally) count(o order, out outcome) {
	t.Counts[out.kind]++
	if o.method == "POST" {
		t.Posts[out.kind]++
	}
	if out.kind == OK {
		t.Latency.Add(out.latency)
	}
}

func (t *Tally) subtract(before *Tally) {
	for k := range t.Counts {
		t.Counts[k] -= before.Counts[k]
		t.Posts[k] -= before.Posts[k]
	}
	t.Latency.subtract(&before.Latency)
}

func sum(counts *[kinds]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}
