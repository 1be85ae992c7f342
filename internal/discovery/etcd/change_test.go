package etcd

import (
	"fmt"
	"strings"
	"testing"
)

func fields(prefix string, n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("%s%d", prefix, i)] = "x"
	}
	return m
}

func TestBatchesFitIntoTransactions(t *testing.T) {
	t.Parallel()
	large := map[string]string{"k": strings.Repeat("x", maxBytes/2)}
	many := func(n int, c change) (all []change) {
		for range n {
			all = append(all, c)
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		changes []change
		want    []int // changes in each batch
	}{
		{"none", nil, nil},
		{"one", many(1, change{to: fields("a", 1)}), []int{1}},
		{"as many as fit", many(maxOps, change{to: fields("a", 1)}), []int{maxOps}},
		{"one more", many(maxOps+1, change{to: fields("a", 1)}), []int{maxOps, 1}},
		{"a key that stays counts once", many(maxOps, change{from: fields("a", 1), to: fields("a", 1)}), []int{maxOps}},
		{"directories stay whole", many(3, change{to: fields("a", 50)}), []int{2, 1}},
		{"bytes", many(3, change{to: large}), []int{1, 1, 1}},
		{"deletions", many(2, change{from: fields("a", 100)}), []int{1, 1}},
	} {
		var got []int
		for _, batch := range batches(tt.changes) {
			got = append(got, len(batch))
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: batches of %v changes, want %v", tt.name, got, tt.want)
		}
	}
}

func TestStepsFitIntoTransactions(t *testing.T) {
	t.Parallel()
	merge := func(ms ...map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range ms {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	for _, tt := range []struct {
		name string
		c    change
		want int
	}{
		{"small", change{from: fields("a", 10), to: fields("b", 10)}, 1},
		{"just fits", change{from: fields("a", 64), to: fields("b", 64)}, 1},
		{"does not fit", change{from: merge(fields("a", 64), fields("c", 11)), to: merge(fields("b", 64), fields("c", 11))}, 2},
	} {
		steps := tt.c.steps()
		if len(steps) != tt.want {
			t.Errorf("%s: %d steps, want %d", tt.name, len(steps), tt.want)
		}
		for i, s := range steps {
			if n := max(len(s.cmps(1)), len(s.ops(1))); n > maxOps {
				t.Errorf("%s: step %d has %d operations", tt.name, i, n)
			}
		}
		if n := len(batches(steps)); n != tt.want {
			t.Errorf("%s: steps are in %d transactions, want %d: no key may be written twice in one", tt.name, n, tt.want)
		}
	}
}
