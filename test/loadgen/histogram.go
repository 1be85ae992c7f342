package loadgen

import (
	"math/bits"
	"time"
)

// Every power of two is cut into 2^subBits buckets, so the upper bound that Quantile
// gives is at most an eighth too high. 40 powers of two of microseconds are 12 days.
const (
	subBits = 3
	buckets = 40 << subBits
)

// A Histogram counts durations in buckets that widen with their value. The zero
// value is empty.
type Histogram struct {
	counts [buckets]int64
	n      int64
	max    time.Duration
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

// Count gives how many durations have been added.
func (h *Histogram) Count() int64 { return h.n }

// Max gives the longest duration exactly; 0 of an empty histogram.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile gives an upper bound of the q-th part of the durations, q from 0 to 1;
// 0 of an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int64(q * float64(h.n))
	for i, c := range h.counts {
		if rank -= c; rank < 0 {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// subtract takes out an earlier state of the same histogram. The longest duration
// is then known only as the bound of its bucket, unless it came later.
func (h *Histogram) subtract(before *Histogram) {
	last := -1
	for i := range h.counts {
		if h.counts[i] -= before.counts[i]; h.counts[i] > 0 {
			last = i
		}
	}
	h.n -= before.n
	switch {
	case last < 0:
		h.max = 0
	case h.max == before.max:
		h.max = min(h.max, upper(last))
	}
}

// bucket numbers a duration by the position of its highest bit in microseconds and
// the subBits bits below it.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 1<<subBits {
		return int(us)
	}
	exp := bits.Len64(us) - 1 - subBits
	return min((exp+1)<<subBits|int(us>>exp)&(1<<subBits-1), buckets-1)
}

// upper gives the end of a bucket, where the next begins.
func upper(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i+1) * time.Microsecond
	}
	exp := i>>subBits - 1
	return time.Duration((1<<subBits|i&(1<<subBits-1))+1) << exp * time.Microsecond
}
