package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeDirectory(t *testing.T) {
	type fields = map[string]string
	tests := []struct {
		name   string
		fields fields
		want   *Instance
	}{
		{
			"classic sidekick",
			fields{"unit": "web@01.service", "host": "core02", "public_ipv4_addr": "162.242.255.73", "private_ipv4_addr": "10.0.0.5", "port": "32768"},
			instance(func(i *Instance) { i.Extra = map[string]string{"unit": "web@01.service"} }),
		},
		{"public address", fields{"host": "core02", "public_ipv4_addr": "162.242.255.73", "private_ipv4_addr": "", "port": "32768"}, instance(func(i *Instance) { i.Host = "162.242.255.73" })},
		{"host only", fields{"host": "Core02", "port": "32768"}, instance(func(i *Instance) { i.Host = "core02" })},
		{"host is an address", fields{"host": "2001:db8::5", "port": "32768"}, instance(func(i *Instance) { i.Host = "2001:db8::5" })},
		{"newlines of a shell script", fields{"host": "10.0.0.5\n", "port": " 32768\n"}, instance(nil)},
		{"fields still empty", fields{"host": "10.0.0.5", "port": "32768", "weight": "", "proto": "", "started": "", "hosts": "\n", "path": "", "version": "", "x": ""}, instance(nil)},
		{"weight 0, udp", fields{"host": "10.0.0.5", "port": "32768", "weight": "0", "proto": "udp"}, instance(func(i *Instance) { i.Weight, i.Proto = 0, "udp" })},
		{"everything", fields{
			"host": "core-01", "private_ipv4_addr": "10.0.0.5", "port": "32768", "version": "v1", "weight": "5", "node": "core-01", "machine": "0af3", "container": "c0ffee",
			"hosts": "www.example.com, WWW.example.com ,b.example.com", "path": "/shop/", "started": "2026-01-02T03:04:05Z", "meta.team": "a", "meta.empty": "", "meta": "x", "tags": "a\nb", "a\nb": "c",
		}, instance(func(i *Instance) {
			i.Version, i.Weight, i.Node, i.Machine, i.Container = "v1", 5, "core-01", "0af3", "c0ffee"
			i.Hosts, i.Path, i.Started = []string{"www.example.com", "b.example.com"}, "/shop", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			i.Meta, i.Extra = map[string]string{"team": "a", "empty": ""}, map[string]string{"meta": "x"}
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, incomplete, err := decodeDirectory("web", "web1", tt.fields)
			if err != nil || incomplete {
				t.Fatalf("decodeDirectory: %v, incomplete %v", err, incomplete)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDecodeDirectoryRefuses(t *testing.T) {
	type fields = map[string]string
	many := fields{}
	for n := range maxFields {
		many[fmt.Sprint("f", n)] = "x"
	}
	for _, tt := range []struct {
		fields     fields
		incomplete bool
	}{
		{fields{}, true},
		{fields{"port": "80"}, true},
		{fields{"host": "10.0.0.5"}, true},
		{fields{"host": "10.0.0.5", "port": ""}, true},
		{fields{"host": " ", "port": "80"}, true},
		{fields{"unit": "web@01.service", "public_ipv4_addr": "162.242.255.73", "private_ipv4_addr": "10.0.0.5", "host": "core02"}, true},
		{fields{"port": "x"}, false},
		{fields{"host": "10.0.0.5", "port": "0"}, false},
		{fields{"host": "10.0.0.5", "port": "-1"}, false},
		{fields{"host": "10.0.0.5", "port": "80.0"}, false},
		{fields{"host": "a;b", "port": "80"}, false},
		{fields{"host": "http://10.0.0.5", "port": "80"}, false},
		{fields{"host": "10.0.0.5", "private_ipv4_addr": "10.0.0", "port": "80"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "weight": "many"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "weight": "-1"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "weight": strings.Repeat("1", 60_000)}, false},
		{fields{"host": "10.0.0.5", "port": "80", "proto": "TCP"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "hosts": "a,,b"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "path": "/a b"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "version": "a\nb"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "node": "\xff"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "started": strings.Repeat("2", 60_000)}, false},
		{fields{"host": "10.0.0.5", "port": "80", "meta.": "x"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "meta.a\n": "x"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "meta.a": "x\u202e"}, false},
		{fields{"host": "10.0.0.5", "port": "80", "x": strings.Repeat("x", maxRecord+1)}, false},
		{many, true}, // as many as may be
	} {
		got, incomplete, err := decodeDirectory("web", "web1", tt.fields)
		if err == nil {
			t.Errorf("%.200q: got %+v, want an error", tt.fields, got)
			continue
		}
		if incomplete != tt.incomplete {
			t.Errorf("%.200q: incomplete = %v, want %v (%v)", tt.fields, incomplete, tt.incomplete, err)
		}
		checkReason(t, fmt.Sprint(tt.fields), err.Error())
	}
	many["host"], many["port"] = "10.0.0.5", "80"
	if _, incomplete, err := decodeDirectory("web", "web1", many); err == nil || incomplete {
		t.Errorf("%d fields: %v, incomplete %v", len(many), err, incomplete)
	}
	for _, name := range hostile {
		if _, _, err := decodeDirectory("web", name, fields{"host": "10.0.0.5", "port": "80"}); err == nil {
			t.Errorf("instance %q is accepted", name)
		}
	}
}
