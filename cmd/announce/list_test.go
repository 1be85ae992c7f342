package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/discovery"
)

var update = flag.Bool("update", false, "write the golden files anew")

func rows() []listed {
	return []listed{
		{Service: "api", Instance: "core-02-api1", RoutedBy: []string{}, Drained: true, age: 3 * time.Hour},
		{Service: "api", Instance: "by-hand", RoutedBy: []string{}, Drained: true},
		{
			Service: "website", Instance: "core-01-web1", Endpoint: "10.0.0.5:32768", Version: "52c7248a14", Node: "core-01", Container: "4f0c",
			Weight: 100, Started: "2026-05-04T12:00:00Z", TTL: 13, RoutedBy: []string{"lb-1-nginx", "lb-2-nginx"}, age: 90 * time.Second,
		},
		{Service: "website", Instance: "core-01-web2", Endpoint: "[2001:db8::5]:80", Weight: 0, RoutedBy: []string{"lb-1-nginx"}, Drained: true},
		{Service: "evil", Instance: "x", Endpoint: "10.0.0.5:1", Version: "a\x1b[2J\nb\tc\u009b", Node: "n\x00\u202e", RoutedBy: []string{"r\r"}},
	}
}

func TestPrint(t *testing.T) {
	for _, format := range []string{"table", "json"} {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			if err := print(&out, format, rows()); err != nil {
				t.Fatal(err)
			}
			golden := "testdata/list." + format
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, r := range out.String() {
				if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') {
					t.Errorf("%q reaches the terminal", r)
				}
			}
		})
	}
}

func TestPrintNothing(t *testing.T) {
	var out bytes.Buffer
	if err := print(&out, "json", []listed{}); err != nil || out.String() != "[]\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestRow(t *testing.T) {
	i := &discovery.Instance{Service: "web", Name: "a", Host: "10.0.0.5", Port: 80, Weight: 5, Revision: 7, Started: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)}
	acks := []*discovery.Acknowledgement{
		{ID: "yes", Prefix: "/services", Applied: 7},
		{ID: "behind", Prefix: "/services", Applied: 6},
		{ID: "elsewhere", Prefix: "/apps", Applied: 9},
		{ID: "cannot", Prefix: "/services", Applied: 9, Skipped: []string{"web/a"}},
	}
	got := row(i, 13*time.Second, acks, "/services")
	if got.age <= 0 && time.Now().After(i.Started) {
		t.Errorf("age %s", got.age)
	}
	got.age = 0
	want := listed{Service: "web", Instance: "a", Endpoint: "10.0.0.5:80", Weight: 5, Started: "2026-05-04T12:00:00Z", TTL: 13, RoutedBy: []string{"yes"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(listed{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDrainedRow(t *testing.T) {
	if got := drainedRow("web", "a", discovery.Drain{}); got.age != 0 || !got.Drained || got.RoutedBy == nil {
		t.Errorf("a drain that does not say since when: %+v", got)
	}
	if got := drainedRow("web", "a", discovery.Drain{Since: time.Now().Add(-time.Hour)}); got.age < time.Hour || got.age > 2*time.Hour {
		t.Errorf("age %s, want one hour", got.age)
	}
}

func TestSaid(t *testing.T) {
	failed := errors.New("etcd is down")
	for name, tc := range map[string]struct {
		renderers int
		err       error
		want      string
		fails     string
	}{
		"nobody":        {0, nil, "web/a is drained (no renderer covers it, so there was nobody to wait for)\n", ""},
		"one":           {1, nil, "web/a is drained (confirmed by 1 renderer)\n", ""},
		"several":       {2, nil, "web/a is drained (confirmed by 2 renderers)\n", ""},
		"not announced": {0, fmt.Errorf("web/a: %w", announcer.ErrNotAnnounced), "", "web/a: it is not announced\n   hint: nobody knows since when, so nothing is proven; `announce list` shows what is announced"},
		"too late":      {0, fmt.Errorf("not confirmed by r1: %w", context.DeadlineExceeded), "", "not confirmed by r1: context deadline exceeded\n   hint: --timeout gives it longer; `announce list` shows who routes to what"},
		"anything else": {0, failed, "", "etcd is down"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			cmd := &cobra.Command{}
			cmd.SetOut(&out)
			fails := ""
			if err := (&connection{}).said(cmd, "web/a is drained", tc.renderers, tc.err); err != nil {
				fails = err.Error()
			}
			if out.String() != tc.want || fails != tc.fails {
				t.Errorf("got %q and %q, want %q and %q", out.String(), fails, tc.want, tc.fails)
			}
		})
	}
}
