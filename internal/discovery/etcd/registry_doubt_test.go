package etcd

import (
	"testing"

	"rollcall/internal/discovery"
)

type withdrawal struct {
	revisions map[string]int64
	err       error
}

func withdraw(t *testing.T, k *keeper) <-chan withdrawal {
	t.Helper()
	ctx, done := testContext(t), make(chan withdrawal, 1)
	go func() {
		revisions, err := k.Withdraw(ctx)
		done <- withdrawal{revisions, err}
	}()
	return done
}

// A transaction whose answer was lost has happened or not. Who withdraws then must
// neither leave the record behind nor pass over it: balancers may use it.
func TestWithdrawAfterAWriteWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	direct, wire := open(t, shared), newLink(t, shared)
	k := keep(t, openURL(t, wire.url), RegistryConfig{Prefix: prefix})
	k.settle(t)
	wire.setMute(true)
	k.Set(records(record(t, prefix, discovery.LayoutJSON, "a", 80, "1")), nil)
	eventually(t, "record is written", func() bool { return len(dump(t, direct, prefix)) == 1 })
	before := revision(t, direct)
	done := withdraw(t, k)
	eventually(t, "withdrawal has begun", k.withdrawing)
	wire.cut()
	wire.setMute(false)

	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	if left := dump(t, direct, prefix); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	deleted := deletions(t, direct, prefix, before)[prefix+"/web/a"]
	if deleted == 0 || got.revisions["web/a"] != deleted {
		t.Errorf("deleted at revision %d, Withdraw() says %v", deleted, got.revisions)
	}
}

func TestWithdrawWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	direct, wire := open(t, shared), newLink(t, shared)
	k := keep(t, openURL(t, wire.url), RegistryConfig{Prefix: prefix})
	k.settle(t, record(t, prefix, discovery.LayoutJSON, "a", 80, "1"))
	before := revision(t, direct)
	wire.setMute(true)
	done := withdraw(t, k)
	eventually(t, "record is deleted", func() bool { return len(dump(t, direct, prefix)) == 0 })
	wire.cut()
	wire.setMute(false)

	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	if deleted := deletions(t, direct, prefix, before)[prefix+"/web/a"]; deleted == 0 || got.revisions["web/a"] < deleted {
		t.Errorf("deleted at revision %d, Withdraw() says %v", deleted, got.revisions)
	}
}
