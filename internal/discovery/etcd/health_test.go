package etcd

import (
	"errors"
	"testing"
)

func TestHealthSaysEachChangeOnce(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	type told struct {
		kind string
		err  error
	}
	for _, tt := range []struct {
		name    string
		told    []told
		want    error
		off, on int
	}{
		{"nothing yet", nil, errNotYet, 0, 0},
		{"well from the start", []told{{"a", nil}, {"a", nil}}, nil, 0, 0},
		{"down from the start", []told{{"a", down}, {"a", down}}, down, 1, 0},
		{"down and up", []told{{"a", nil}, {"a", down}, {"a", down}, {"a", nil}, {"a", nil}}, nil, 1, 1},
		{"twice", []told{{"a", down}, {"a", nil}, {"a", down}, {"a", nil}}, nil, 2, 2},
		{"one kind does not make up for another", []told{{"a", down}, {"b", nil}, {"a", down}, {"b", nil}}, down, 1, 0},
		{"both down", []told{{"a", down}, {"b", errors.New("as well")}, {"a", nil}, {"b", nil}}, nil, 1, 1},
	} {
		var log logbook
		h := newHealth(log.logger(), "test")
		for _, x := range tt.told {
			h.set(x.kind, x.err)
		}
		if got := h.Healthy(); !errors.Is(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%s: Healthy() = %v, want %v", tt.name, got, tt.want)
		}
		if off, on := log.count("does not answer"), log.count("answers again"); off != tt.off || on != tt.on {
			t.Errorf("%s: logged %d times off and %d times on, want %d and %d", tt.name, off, on, tt.off, tt.on)
		}
	}
}
