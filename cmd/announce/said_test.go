package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// People have heard of a limit that they set, and not of contexts.
func TestIntelligible(t *testing.T) {
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for want, tc := range map[string]struct {
		ctx context.Context
		err error
	}{
		"not confirmed by r1: not within 30s":                                               {late, fmt.Errorf("not confirmed by r1: %w", context.DeadlineExceeded)},
		"list drains: no answer in time":                                                    {t.Context(), fmt.Errorf("list drains: %w", context.DeadlineExceeded)},
		"not confirmed by r1 (confirm: context deadline exceeded): not within 30s\n   hint": {late, fmt.Errorf("not confirmed by r1 (confirm: context deadline exceeded): %w\n   hint", context.DeadlineExceeded)},
		"not confirmed by r1 (context deadline exceeded): interrupted":                      {t.Context(), fmt.Errorf("not confirmed by r1 (context deadline exceeded): %w", context.Canceled)},
		"web/a is not announced":                                                            {late, errors.New("web/a is not announced")},
	} {
		got := intelligible(tc.ctx, tc.err, 30*time.Second)
		if got.Error() != want || !errors.Is(got, tc.err) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := intelligible(late, nil, time.Second); err != nil {
		t.Errorf("got %v for nothing", err)
	}
}
