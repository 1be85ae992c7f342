package bench

import (
	"testing"

	"rollcall/test/fakedocker"
)

// service is that of all containers here. A container's name is that of its instance.
const service = "bench"

// A fleet is an engine with its containers.
type fleet interface {
	host() string               // for DOCKER_HOST
	running() map[string]string // ids by name
	add(name string) (id string)
	kill(id string)
	remove(id string) // one that was killed
}

// A fakeFleet is one of any size.
type fakeFleet struct {
	tb     testing.TB
	engine *fakedocker.Engine
}

var _ fleet = (*fakeFleet)(nil)

func newFakeFleet(tb testing.TB, n int, l fakedocker.Latency) *fakeFleet {
	tb.Helper()
	e, err := fakedocker.Start(n, l)
	if err != nil {
		tb.Fatal(err)
	}
	f := &fakeFleet{tb, e}
	tb.Cleanup(func() { f.must(e.Close()) })
	return f
}

func (f *fakeFleet) host() string { return f.engine.Host() }

func (f *fakeFleet) running() map[string]string {
	ids := map[string]string{}
	for _, c := range f.engine.Running() {
		ids[c.Name] = c.ID
	}
	return ids
}

func (f *fakeFleet) add(name string) string {
	f.tb.Helper()
	c, err := f.engine.Add(name)
	f.must(err)
	return c.ID
}

func (f *fakeFleet) kill(id string) {
	f.tb.Helper()
	f.must(f.engine.Kill(id))
}

func (f *fakeFleet) remove(id string) {
	f.tb.Helper()
	f.must(f.engine.Remove(id))
}

func (f *fakeFleet) must(err error) {
	f.tb.Helper()
	if err != nil {
		f.tb.Fatal(err)
	}
}
