package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"rollcall/internal/cli"
)

// print shows the explanation as tables for people or as JSON for scripts.
func (e *explanation) print(w io.Writer, output string) error {
	if output == "json" {
		b, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			return fmt.Errorf("print JSON: %w", err)
		}
		_, err = fmt.Fprintln(w, escaped(string(b)))
		return err
	}
	c := e.Container
	state, network := c.State, c.Network
	if c.Health != "" {
		state += ", " + c.Health
	}
	if c.Shares != "" {
		network = "that of " + c.Shares
	}
	err := cli.Table(w, []string{"container", "id", "image", "state", "network"}, [][]string{{c.Name, c.ID[:min(12, len(c.ID))], c.Image, state, network}})
	if e.Reason != "" {
		_, said := fmt.Fprintf(w, "\nnot announced: %s\n", oneLine(e.Reason))
		err = errors.Join(err, said)
		for _, s := range e.Dropped {
			_, said := fmt.Fprintf(w, "left out: %s %s: %s\n", s.From, oneLine(s.Name), s.Value)
			err = errors.Join(err, said)
		}
		return err
	}
	var endpoints, settings [][]string
	for _, p := range e.Ports {
		endpoints = append(endpoints, p.verdicts()...)
		for _, s := range p.Settings {
			settings = append(settings, []string{p.Port, s.Name, s.Value, s.From})
		}
		for _, s := range p.Dropped {
			settings = append(settings, []string{p.Port, s.Name, "left out: " + s.Value, s.From})
		}
	}
	for _, t := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"port", "endpoint", "from", "verdict"}, endpoints},
		{[]string{"port", "setting", "value", "from"}, settings},
	} {
		if len(t.rows) > 0 {
			_, said := fmt.Fprintln(w)
			err = errors.Join(err, said, cli.Table(w, t.header, t.rows))
		}
	}
	// A value is too long for a table.
	for _, p := range e.Ports {
		for _, key := range slices.Sorted(maps.Keys(p.Record)) {
			_, said := fmt.Fprintf(w, "\n%s\n  %s\n", oneLine(key), oneLine(p.Record[key]))
			err = errors.Join(err, said)
		}
	}
	if e.Unasked != "" {
		_, said := fmt.Fprintf(w, "\netcd was not asked: %s\n", oneLine(e.Unasked))
		err = errors.Join(err, said)
	}
	return err
}

// verdicts gives one row for each endpoint considered, and one for what keeps the port
// from being announced.
func (p *explainedPort) verdicts() [][]string {
	var rows [][]string
	for _, c := range p.Considered {
		verdict := c.Rejected
		if verdict == "" {
			verdict = "chosen"
		} else {
			verdict = "rejected: " + verdict
		}
		rows = append(rows, []string{p.Port, c.Endpoint, c.From, verdict})
	}
	switch {
	case p.Reason != "":
		rows = append(rows, []string{p.Port, p.CheckedAt, p.Check, "not announced: " + p.Reason})
	case p.Check != "":
		rows = append(rows, []string{p.Port, p.CheckedAt, p.Check, "check answered"})
	}
	if p.Etcd != "" {
		rows = append(rows, []string{p.Port, "", "etcd", p.Etcd})
	}
	return rows
}

// oneLine keeps what a container says away from the terminal's control.
func oneLine(s string) string { return strings.ReplaceAll(escaped(s), "\n", `\n`) }
