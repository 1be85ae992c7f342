package loadgen

import (
	"fmt"
	"maps"
	"time"
)

// A Kind says how a request ended.
type Kind int

// All ways in which a request can end; every one but OK is a failure.
const (
	OK           Kind = iota
	Dial              // no connection: refused, unreachable, timed out
	Closed            // a new connection was closed or reset before the first byte of the answer
	ClosedReused      // a kept connection was closed or reset after the request was written, before the first byte of the answer
	Cut               // the answer began and broke off, or was no HTTP
	Timeout           // no whole answer within Config.Timeout
	ServerError       // status 500–599
	Wrong             // another status than 200, or not the body that was posted
	kinds
)

// String names the kind in a few words.
func (k Kind) String() string {
	switch k {
	case OK:
		return "ok"
	case Dial:
		return "no connection"
	case Closed:
		return "closed without an answer"
	case ClosedReused:
		return "kept connection closed without an answer"
	case Cut:
		return "answer broke off"
	case Timeout:
		return "timeout"
	case ServerError:
		return "5xx"
	case Wrong:
		return "wrong answer"
	default:
		return fmt.Sprintf("kind %d", int(k))
	}
}

// maxFailures bounds how many failures are kept word by word.
const maxFailures = 20

// A Failure tells of one failed request.
type Failure struct {
	At     time.Duration // since the load began
	Class  Class
	Method string
	Kind   Kind
	Text   string
}

// A Result counts what clients saw.
type Result struct {
	Tally // of all requests

	Took    time.Duration
	Classes [classes]Tally // by Class

	Fresh    int64 // sent on a connection of their own
	Reopened int64 // a kept connection was found closed before the next request: no failure
	Retried  int64 // sent once more by Config.Retry; counted by how the second try ended

	Instances map[string]int64 // good answers by X-Instance
	Versions  map[string]int64 // good answers by X-Version

	Failures []Failure // the first few

	began time.Time
}

func newResult() Result { return Result{Instances: map[string]int64{}, Versions: map[string]int64{}} }

func (r *Result) count(o order, out outcome) {
	r.Tally.count(o, out)
	r.Classes[o.class].count(o, out)
	if o.fresh {
		r.Fresh++
	}
	if out.reopened {
		r.Reopened++
	}
	if out.retried {
		r.Retried++
	}
	if out.kind != OK {
		if len(r.Failures) < maxFailures {
			r.Failures = append(r.Failures, Failure{At: time.Since(r.began), Class: o.class, Method: o.method, Kind: out.kind, Text: out.err.Error()})
		}
		return
	}
	r.Instances[out.instance]++
	r.Versions[out.version]++
}

func (r *Result) clone() Result {
	c := *r
	c.Instances, c.Versions = maps.Clone(r.Instances), maps.Clone(r.Versions)
	c.Failures = append([]Failure(nil), r.Failures...)
	return c
}

// Since gives what was counted after an earlier snapshot of the same load.
// Failures word by word are those that did not stand in it.
func (r *Result) Since(before *Result) Result {
	d := r.clone()
	d.Took -= before.Took
	d.subtract(&before.Tally)
	for i := range d.Classes {
		d.Classes[i].subtract(&before.Classes[i])
	}
	d.Fresh -= before.Fresh
	d.Reopened -= before.Reopened
	d.Retried -= before.Retried
	subtract(d.Instances, before.Instances)
	subtract(d.Versions, before.Versions)
	d.Failures = d.Failures[len(before.Failures):]
	return d
}

func subtract(from, what map[string]int64) {
	for k, n := range what {
		if from[k] -= n; from[k] == 0 {
			delete(from, k)
		}
	}
}
