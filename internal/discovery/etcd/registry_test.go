package etcd

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rollcall/internal/discovery"
)

func TestRegistryWritesEveryLayout(t *testing.T) {
	t.Parallel()
	c := open(t, shared)
	for _, layout := range discovery.Layouts() {
		t.Run(string(layout), func(t *testing.T) {
			prefix := unique(t)
			k := keep(t, c, RegistryConfig{Prefix: prefix})
			a, b := record(t, prefix, layout, "a", 80, "1"), record(t, prefix, layout, "b", 81, "1")
			k.settle(t, a, b)
			if diff := cmp.Diff(values(records(a, b)), dump(t, c, prefix)); diff != "" {
				t.Errorf("created (-want +got):\n%s", diff)
			}
			if got := k.Held(); got != 2 {
				t.Errorf("Held() = %d, want 2", got)
			}

			a2 := record(t, prefix, layout, "a", 90, "2")
			k.settle(t, a2, b)
			if diff := cmp.Diff(values(records(a2, b)), dump(t, c, prefix)); diff != "" {
				t.Errorf("updated (-want +got):\n%s", diff)
			}
			k.settle(t, a2)
			if diff := cmp.Diff(values(records(a2)), dump(t, c, prefix)); diff != "" {
				t.Errorf("one deleted (-want +got):\n%s", diff)
			}
			if err := k.Current(); err != nil {
				t.Errorf("Current() = %v", err)
			}
		})
	}
}

func TestRegistryRecordIsReadByAScript(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	k := keep(t, open(t, shared), RegistryConfig{Prefix: prefix})
	k.settle(t, record(t, prefix, discovery.LayoutHostPort, "apache1", 8080, ""))
	out, err := exec.Command("etcdctl", "--endpoints", shared.Endpoints()[0], "get", "--print-value-only", prefix+"/web/apache1").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "10.0.0.5:8080" {
		t.Errorf("etcdctl says %q, %v", out, err)
	}
}

// A reader sees the old fields or the new ones, never some of both.
func TestRegistryUpdateIsOneTransactionOfWhatChanged(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	k.settle(t, record(t, prefix, discovery.LayoutDirectory, "a", 80, "1"))
	writes := metric(t, k.writes)
	after := record(t, prefix, discovery.LayoutDirectory, "a", 81, "")
	after.Values[prefix+"/web/a/path"] = "/shop"
	k.settle(t, after)
	if got := metric(t, k.writes) - writes; got != 1 {
		t.Errorf("%v transactions, want 1", got)
	}
	versions := map[string]int64{}
	modified := map[int64]bool{}
	for key := range after.Values {
		res, err := c.c.Get(testContext(t), key)
		if err != nil || len(res.Kvs) != 1 {
			t.Fatalf("get %s: %v, %v", key, res, err)
		}
		field := strings.TrimPrefix(key, prefix+"/web/a/")
		versions[field] = res.Kvs[0].Version
		if field == "port" || field == "path" {
			modified[res.Kvs[0].ModRevision] = true
		}
	}
	want := map[string]int64{"host": 1, "private_ipv4_addr": 1, "port": 2, "proto": 1, "weight": 1, "node": 1, "machine": 1, "path": 1}
	if diff := cmp.Diff(want, versions); diff != "" {
		t.Errorf("times each key was written (-want +got):\n%s", diff)
	}
	if len(modified) != 1 {
		t.Errorf("port and path were written at revisions %v, want one", modified)
	}
	if diff := cmp.Diff(after.Values, dump(t, c, prefix)); diff != "" {
		t.Errorf("below the prefix (-want +got):\n%s", diff)
	}
}

func TestRegistryWritesManyRecordsInFewTransactions(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	var rs []discovery.Record
	for i := range 300 {
		rs = append(rs, record(t, prefix, discovery.LayoutJSON, fmt.Sprintf("i%03d", i), 1000+i, "1"))
	}
	k.settle(t, rs...)
	if got := metric(t, k.writes); got != 3 {
		t.Errorf("300 records took %v transactions, want 3 of at most 128 operations", got)
	}
	if diff := cmp.Diff(values(records(rs...)), dump(t, c, prefix)); diff != "" {
		t.Errorf("below the prefix (-want +got):\n%s", diff)
	}
	if got := metric(t, k.records); got != 300 {
		t.Errorf("rollcall_announced_records is %v, want 300", got)
	}
}

// Dozens of fields exchanged at once do not fit into one transaction.
func TestRegistryExchangesMoreFieldsThanATransactionHolds(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	for _, generation := range []string{"old", "new"} {
		r := record(t, prefix, discovery.LayoutDirectory, "a", 80, generation)
		for i := range 64 {
			r.Values[fmt.Sprintf("%s/web/a/meta.%s%d", prefix, generation, i)] = "x"
		}
		k.settle(t, r)
		if diff := cmp.Diff(r.Values, dump(t, c, prefix)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", generation, diff)
		}
	}
}

// Records of many kilobytes reach the limit of a request before that of operations.
func TestRegistryCutsLargeRequests(t *testing.T) {
	t.Parallel()
	prefix := unique(t)
	c := open(t, shared)
	k := keep(t, c, RegistryConfig{Prefix: prefix})
	var rs []discovery.Record
	for i := range 60 {
		id := fmt.Sprintf("i%d", i)
		rs = append(rs, discovery.Record{Service: "web", Instance: id, Values: map[string]string{prefix + "/web/" + id: strings.Repeat("x", 60_000)}})
	}
	k.settle(t, rs...)
	if got := len(dump(t, c, prefix)); got != len(rs) {
		t.Errorf("%d records are there, want %d", got, len(rs))
	}
}
