package loadgen

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// String gives the result in one line.
func (r *Result) String() string {
	return fmt.Sprintf("requests sent %d, lost %d (p50 %s, p99 %s, max %s)",
		r.Sent(), r.Lost(), short(r.Latency.Quantile(.5)), short(r.Latency.Quantile(.99)), short(r.Latency.Max()))
}

// Print writes the whole result for people.
func (r *Result) Print(w io.Writer) {
	sent := r.Sent()
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("sent", "%d in %s, %.0f/s (%d POST, %d on fresh connections)", sent, short(r.Took), float64(sent)/max(r.Took.Seconds(), 1e-9), r.SentPosts(), r.Fresh)
	line("ok", "%d", r.Counts[OK])
	line("lost", "%d (%d GET, %d POST)", r.Lost(), r.LostGets(), r.LostPosts())
	for k := OK + 1; k < kinds; k++ {
		if n := r.Counts[k]; n > 0 {
			line("", "%d %s", n, k)
		}
	}
	line("retried", "%d on a kept connection closed without an answer", r.Retried)
	line("reopened", "%d kept connections found closed before the next request", r.Reopened)
	line("latency", "%s", &r.Latency)
	for class := range classes {
		if t := &r.Classes[class]; t.Sent() > 0 && t.Sent() < sent {
			line("", "%s: %d GET, lost %d; %d POST, lost %d; %s", class, t.Sent()-t.SentPosts(), t.LostGets(), t.SentPosts(), t.LostPosts(), &t.Latency)
		}
	}
	line("instances", "%s", Spread(r.Instances))
	line("versions", "%s", Spread(r.Versions))
	for _, f := range r.Failures {
		line("failure", "at %s: %s, %s: %s: %s", short(f.At), f.Method, f.Class, f.Kind, strings.ReplaceAll(f.Text, "\n", ": "))
	}
}

// String gives the quantiles that people ask for.
func (h *Histogram) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s", short(h.Quantile(.5)), short(h.Quantile(.99)), short(h.Quantile(.999)), short(h.Max()))
}

// Spread writes who answered how often, by name: "web-1 34%, web-2 33%, web-3 33%".
func Spread(answers map[string]int64) string {
	if len(answers) == 0 {
		return "nobody"
	}
	var total int64
	for _, n := range answers {
		total += n
	}
	parts := make([]string, 0, len(answers))
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		parts = append(parts, fmt.Sprintf("%s %.0f%%", cmp.Or(name, "(unnamed)"), 100*float64(answers[name])/float64(total)))
	}
	return strings.Join(parts, ", ")
}

// short rounds a duration to about three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}
