package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"rollcall/test/loadgen"
)

//go:embed report.md.tmpl
var page string

// titles are the proxies' names for people, in the order of machines.Proxies.
func titles() []string { return []string{"nginx", "Apache", "HAProxy"} }

// report writes everything down for people.
func (p *proof) report() ([]byte, error) {
	t, err := template.New("report").Funcs(template.FuncMap{"number": number}).Parse(page)
	if err != nil {
		return nil, err
	}
	median, longest := spread(p.deploys.replacements)
	type abrupt struct {
		Replacements int
		Clients      string
		Lost         int64
	}
	data := struct {
		Lost                     int64
		Replacements, Confirmed  int64
		Took, Median, Longest    string
		Clients, Latencies       string
		Failures, Packages, Date string
		Rate                     float64
		Command                  string
		Facts                    facts
		Abrupt                   *abrupt
	}{
		Lost: p.lost, Replacements: int64(len(p.deploys.replacements)), Confirmed: int64(p.deploys.confirmed),
		Took: p.deploys.took.Round(time.Second).String(), Median: median, Longest: longest,
		Clients: p.deploys.table(), Latencies: p.latencies(),
		Failures: failures(p.deploys.clients), Packages: strings.Join(p.facts.Packages, ", "), Date: p.began.UTC().Format(time.DateOnly),
		Rate: p.rate, Command: p.command, Facts: p.facts,
	}
	if a := p.abruptly; a != nil {
		data.Abrupt = &abrupt{len(a.replacements), a.table(), lost(a.clients)}
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// table has what was sent and lost, a column for each proxy.
func (p *part) table() string {
	head := append([]string{""}, titles()...)
	rows := [][]string{}
	row := func(name string, of func(i int, r *loadgen.Result) int64) {
		cells := []string{name}
		for i := range p.clients {
			cells = append(cells, number(of(i, &p.clients[i])))
		}
		rows = append(rows, cells)
	}
	row("requests sent", func(_ int, r *loadgen.Result) int64 { return r.Sent() })
	row("**lost**", func(_ int, r *loadgen.Result) int64 { return r.Lost() })
	for kind := loadgen.OK + 1; int(kind) < len(loadgen.Tally{}.Counts); kind++ {
		if slices.ContainsFunc(p.clients, func(r loadgen.Result) bool { return r.Counts[kind] > 0 }) {
			row("lost: "+kind.String(), func(_ int, r *loadgen.Result) int64 { return r.Counts[kind] })
		}
	}
	row("sent: POST", func(_ int, r *loadgen.Result) int64 { return r.SentPosts() })
	for _, class := range []loadgen.Class{loadgen.KeepAlive, loadgen.Rare, loadgen.Fresh, loadgen.Slow} {
		row("sent: "+class.String(), func(_ int, r *loadgen.Result) int64 { return r.Classes[class].Sent() })
	}
	row("kept connections that their clients found closed before they used them", func(_ int, r *loadgen.Result) int64 { return r.Reopened })
	for _, version := range []string{"v1", "v2"} {
		row("answered by "+version, func(_ int, r *loadgen.Result) int64 { return r.Versions[version] })
	}
	row("replacements", func(int, *loadgen.Result) int64 { return int64(len(p.replacements)) })
	row("members changed without a reload", func(i int, _ *loadgen.Result) int64 { return int64(p.servers[i].members) })
	row("reloads of the server", func(i int, _ *loadgen.Result) int64 { return int64(p.servers[i].reloads) })
	return table(head, rows)
}

// latencies sets those of the deploys beside those at rest.
func (p *proof) latencies() string {
	head := []string{"latency"}
	for _, title := range titles() {
		head = append(head, title+", deploying", "at rest")
	}
	var rows [][]string
	for _, l := range []struct {
		name string
		of   func(h *loadgen.Histogram) time.Duration
	}{
		{"p50", func(h *loadgen.Histogram) time.Duration { return h.Quantile(.5) }},
		{"p99", func(h *loadgen.Histogram) time.Duration { return h.Quantile(.99) }},
		{"p99.9", func(h *loadgen.Histogram) time.Duration { return h.Quantile(.999) }},
		{"max", (*loadgen.Histogram).Max},
	} {
		cells := []string{l.name}
		for i := range titles() {
			cells = append(cells, short(l.of(&p.deploys.clients[i].Latency)), short(l.of(&p.rest.clients[i].Latency)))
		}
		rows = append(rows, cells)
	}
	return table(head, rows)
}

// failures lists the first of each proxy; nothing where there are none.
func failures(all []loadgen.Result) string {
	var out strings.Builder
	for i, r := range all {
		for _, f := range r.Failures {
			fmt.Fprintf(&out, "- %s, at %s of the load: %s, %s: %s: %s\n",
				titles()[i], short(f.At), f.Method, f.Class, f.Kind, strings.ReplaceAll(f.Text, "\n", ": "))
		}
	}
	return out.String()
}

// table writes Markdown: names to the left, numbers to the right.
func table(head []string, rows [][]string) string {
	var out strings.Builder
	line := func(cells []string) { fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	fmt.Fprintf(&out, "|---%s|\n", strings.Repeat("|---:", len(head)-1))
	for _, r := range rows {
		line(r)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// spread gives the median and the longest.
func spread(times []time.Duration) (median, longest string) {
	sorted := slices.Sorted(slices.Values(times))
	return short(sorted[len(sorted)/2]), short(sorted[len(sorted)-1])
}

// number sets commas: 1,234,567.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short rounds to about three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(10 * time.Microsecond).String()
	}
}
