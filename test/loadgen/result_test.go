package loadgen

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestHistogram(t *testing.T) {
	var h Histogram
	if got := h.Quantile(.5); got != 0 {
		t.Errorf("median of nothing is %v", got)
	}
	for i := range 1000 {
		h.Add(time.Duration(i+1) * time.Millisecond)
	}
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{{0, time.Millisecond}, {.5, 501 * time.Millisecond}, {.9, 901 * time.Millisecond}, {.99, 991 * time.Millisecond}, {1, time.Second}} {
		got := h.Quantile(tt.q)
		if got < tt.want || float64(got) > float64(tt.want)*1.126 {
			t.Errorf("quantile %g is %v, want %v to an eighth more", tt.q, got, tt.want)
		}
	}
	if h.Max() != time.Second || h.Count() != 1000 {
		t.Errorf("max %v, count %d, want 1s, 1000", h.Max(), h.Count())
	}
}

// Every duration lies in a bucket that ends above it and begins where the last ended.
func TestBuckets(t *testing.T) {
	for i := 1; i < buckets-1; i++ {
		if got := bucket(upper(i - 1)); got != i {
			t.Fatalf("bucket %d begins at %v, which lies in bucket %d", i, upper(i-1), got)
		}
		if got := bucket(upper(i) - time.Microsecond); got != i {
			t.Fatalf("bucket %d ends before %v, which lies in bucket %d", i, upper(i), got)
		}
	}
	if got := bucket(1<<63 - 1); got >= buckets {
		t.Errorf("the longest duration lies in bucket %d of %d", got, buckets)
	}
	if got := bucket(-time.Second); got != 0 {
		t.Errorf("a negative duration lies in bucket %d", got)
	}
}

func TestSince(t *testing.T) {
	get, post := order{class: Fresh, method: "GET", fresh: true}, order{method: "POST"}
	r := newResult()
	r.count(get, outcome{instance: "a", version: "v1", latency: time.Second})
	r.count(post, outcome{kind: Dial, err: cmpopts.AnyError})
	r.Took = time.Second
	before := r.clone()

	r.count(get, outcome{instance: "b", version: "v1", latency: time.Millisecond, reopened: true, retried: true})
	r.count(post, outcome{kind: Cut, err: cmpopts.AnyError})
	r.Took = 3 * time.Second
	got := r.Since(&before)

	want := newResult()
	want.count(get, outcome{instance: "b", version: "v1", latency: time.Millisecond, reopened: true, retried: true})
	want.count(post, outcome{kind: Cut, err: cmpopts.AnyError})
	want.Took = 2 * time.Second
	want.Latency.max = got.Latency.max // known only by its bucket
	want.Classes[Fresh].Latency.max = got.Classes[Fresh].Latency.max
	opts := cmp.Options{
		cmp.AllowUnexported(Result{}, Tally{}, Histogram{}), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(Failure{}, "At"), cmpopts.IgnoreFields(Result{}, "began"),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Errorf("result differs (-want +got):\n%s", diff)
	}
	if got.Latency.Max() < time.Millisecond || got.Latency.Max() > 1130*time.Microsecond {
		t.Errorf("longest is %v, want 1ms to an eighth more", got.Latency.Max())
	}
	if got.Sent() != 2 || got.Lost() != 1 || got.LostGets() != 0 {
		t.Errorf("sent %d, lost %d, of them GETs %d, want 2, 1, 0", got.Sent(), got.Lost(), got.LostGets())
	}
}

func TestPrint(t *testing.T) {
	r := newResult()
	r.Took = 2 * time.Second
	o := order{method: "GET"}
	for range 3 {
		r.count(o, outcome{instance: "web-1", version: "v1", latency: 10 * time.Millisecond})
	}
	r.count(order{class: Fresh, method: "POST", fresh: true}, outcome{kind: ServerError, err: fmt.Errorf("status 502 Bad Gateway")})
	r.Failures[0].At = 1500 * time.Millisecond
	if got, want := r.String(), "requests sent 4, lost 1 (p50 10ms, p99 10ms, max 10ms)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var out strings.Builder
	r.Print(&out)
	want := `sent       4 in 2s, 2/s (1 POST, 1 on fresh connections)
ok         3
lost       1 (0 GET, 1 POST)
           1 5xx
retried    0 on a kept connection closed without an answer
reopened   0 kept connections found closed before the next request
latency    p50 10ms, p99 10ms, p99.9 10ms, max 10ms
           keep-alive: 3 GET, lost 0; 0 POST, lost 0; p50 10ms, p99 10ms, p99.9 10ms, max 10ms
           new connection: 0 GET, lost 0; 1 POST, lost 1; p50 0s, p99 0s, p99.9 0s, max 0s
instances  web-1 100%
versions   v1 100%
failure    at 1.5s: POST, new connection: 5xx: status 502 Bad Gateway
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
