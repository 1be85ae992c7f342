package reload

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestLeaversAreAskedForSeldom has one that takes long, others that come and go, and many
// who wait for each.
func TestLeaversAreAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		over, looks := map[*Leaver]bool{}, map[*Leaver]int{}
		s := newLeavers(func(_ context.Context, list []*Leaver) (found []*Leaver) {
			mu.Lock()
			defer mu.Unlock()
			for _, l := range list {
				looks[l]++
				if over[l] {
					found = append(found, l)
				}
			}
			return found
		})
		seen := func(l *Leaver) int {
			mu.Lock()
			defer mu.Unlock()
			n := looks[l]
			looks[l] = 0
			return n
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waits sync.WaitGroup
		wait := func(l *Leaver) {
			for range 20 {
				waits.Go(func() { _ = l.Wait(ctx) })
			}
		}
		long := s.add("p", "long", "a:1")
		wait(long)
		time.Sleep(100 * time.Millisecond)
		if n := seen(long); n != 6 { // after 0, 2, 6, 14, 30 and 62 ms
			t.Errorf("it was asked for %d times at first, want 6", n)
		}
		time.Sleep(time.Minute)
		seen(long)
		time.Sleep(time.Minute)
		if n := seen(long); n < 59 || n > 61 {
			t.Errorf("it was asked for %d times in a minute, want once a second", n)
		}
		for range 100 { // in ten seconds
			l := s.add("p", "short", "b:1")
			wait(l)
			time.Sleep(time.Millisecond)
			mu.Lock()
			over[l] = true
			mu.Unlock()
			began := time.Now()
			if err := l.Wait(ctx); err != nil || time.Since(began) > 5*time.Millisecond {
				t.Fatalf("a short one took %s, %v; want milliseconds", time.Since(began), err)
			}
			time.Sleep(90 * time.Millisecond)
		}
		if n := seen(long); n < 9 || n > 22 {
			t.Errorf("beside others it was asked for %d times in ten seconds, want at most twice a second", n)
		}
		if list := s.list(); !slices.Equal(list, []*Leaver{long}) {
			t.Errorf("%d left, want the long one", len(list))
		}
		s.end(long)
		synctest.Wait()
		if !long.Over() {
			t.Error("it is not over")
		}
		cancel()
		waits.Wait()
	})
}
