package main

import (
	"context"
	"log/slog"
	"time"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
	"rollcall/internal/renderer"
)

// othersTimeout bounds what a question for the status may wait for etcd.
const othersTimeout = time.Second

// A report is what /status answers and `render status` shows.
type report struct {
	renderer.Status

	// Renderers are all that are alive, this one among them, sorted by id.
	Renderers []other `json:"renderers,omitempty"`
	// RenderersError says why they are not known.
	RenderersError string `json:"renderers_error,omitempty"`
}

// An other is a renderer as it has acknowledged itself in etcd.
type other struct {
	ID      string `json:"id"`
	Node    string `json:"node"`
	Proxy   string `json:"proxy"`
	Applied int64  `json:"applied"`
	Drained int64  `json:"drained"`
	// Lag is by how many revisions of etcd it is behind the one that is furthest.
	Lag       int64  `json:"lag"`
	Held      int    `json:"held,omitempty"`
	Healthy   bool   `json:"healthy"`
	LastError string `json:"last_error,omitempty"`
}

// report asks etcd for the other renderers when somebody wants to know, and not before.
func (o *options) report(ctx context.Context, r *renderer.Renderer, client *etcd.Client) report {
	rep := report{Status: r.Status()}
	ctx, cancel := context.WithTimeout(ctx, othersTimeout)
	defer cancel()
	// Of a key that is broken a log must not tell each time that somebody looks.
	acks, err := etcd.ListRenderers(ctx, client, slog.New(slog.DiscardHandler))
	if err != nil {
		rep.RenderersError = err.Error()
		return rep
	}
	rep.Renderers = others(acks, o.prefix)
	return rep
}

// others lists the renderers of the same records.
func others(acks []*discovery.Acknowledgement, prefix string) []other {
	var newest int64
	for _, a := range acks {
		if a.Prefix == prefix {
			newest = max(newest, a.Applied)
		}
	}
	var list []other
	for _, a := range acks {
		if a.Prefix == prefix {
			list = append(list, other{
				ID: a.ID, Node: a.Node, Proxy: a.Proxy, Applied: a.Applied, Drained: a.Drained, Lag: newest - a.Applied,
				Held: len(a.Held), Healthy: a.Healthy, LastError: a.LastError,
			})
		}
	}
	return list
}
