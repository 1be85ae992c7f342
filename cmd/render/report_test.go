package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
	"rollcall/internal/renderer"
)

// Who asks for the status every second must not fill the log with one broken key.
func TestReportSaysNothingOfBrokenKeys(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	server, err := etcd.StartServer(ctx, t.TempDir(), []string{"http://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := etcd.Open(ctx, etcd.Config{Endpoints: server.Endpoints()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for id, value := range map[string]string{"broken": "nonsense", "edge-1": `{"prefix":"/services","node":"n1","proxy":"nginx"}`} {
		put := exec.Command("etcdctl", "--endpoints", strings.Join(server.Endpoints(), ","), "put", discovery.RenderersPrefix+"/"+id, value)
		if out, err := put.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var log bytes.Buffer
	o := &options{prefix: "/services", logger: slog.New(slog.NewTextHandler(&log, nil))}
	r := renderer.New(renderer.Config{Logger: o.logger, Registerer: prometheus.NewRegistry()})
	rep := o.report(ctx, r, client)
	if got := fmt.Sprint(rep.Renderers, rep.RenderersError); len(rep.Renderers) != 1 || rep.Renderers[0].ID != "edge-1" || log.Len() > 0 {
		t.Errorf("got %s, and %q in the log", got, log.String())
	}
}
