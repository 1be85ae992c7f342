package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"rollcall/internal/cli"
	"rollcall/internal/renderer"
)

// maxShown is how many lines of a list are shown; --output json has all.
const maxShown = 20

// A page is what is shown, part by part, with an empty line between them.
type page struct {
	w   io.Writer
	now time.Time
	err error
	any bool
}

// show prints a report for people.
func (r report) show(w io.Writer, now time.Time, diff bool) error {
	p := &page{w: w, now: now}
	r.balancer(p)
	r.members(p)
	r.reload(p)
	r.trouble(p)
	r.lists(p)
	r.peers(p)
	if diff {
		p.text(orElse(r.Diff, "the last reload changed nothing in the files that this render remembers"))
	}
	return p.err
}

// balancer is the picture of the moment.
func (r report) balancer(p *page) {
	p.table([]string{"balancer", "output", "desired", "on disk", "running", "revision", "drained", "services", "instances", "old workers"}, [][]string{{
		r.Proxy, strings.Join(r.Outputs, " "), r.Desired.Generation, r.OnDisk, r.Running.Generation, number(r.Running.Revision), number(r.Drained),
		strconv.Itoa(r.Services), strconv.Itoa(r.Instances), strconv.Itoa(r.OldWorkers),
	}})
}

// members tells of changes that needed no reload.
func (r report) members(p *page) {
	if r.Members == 0 {
		return
	}
	p.table([]string{"last change of members", "took", "members changed"}, [][]string{{
		p.ago(r.LastMembers), time.Duration(r.MembersTook * float64(time.Second)).Round(100 * time.Microsecond).String(), strconv.Itoa(r.Members),
	}})
}

// reload tells of the last one: when, how long, and what for.
func (r report) reload(p *page) {
	if len(r.History) == 0 {
		return
	}
	last := r.History[0]
	p.table([]string{"last reload", "took", "reloads", "revision", "cause", "changes"}, [][]string{{
		p.ago(last.At), time.Duration(last.Took * float64(time.Second)).Round(time.Millisecond).String(),
		strconv.Itoa(r.Reloads), number(last.Cause.Revision), describe(last.Cause), strconv.Itoa(last.Changes),
	}})
	if last.Changes < 2 {
		return
	}
	var rows [][]string
	for _, c := range r.Changes {
		rows = append(rows, []string{string(c.Kind), what(c), number(c.Revision)})
	}
	p.list([]string{"changed", "what", "revision"}, rows, last.Changes)
}

// describe gives a change in a few words: "added /services/web/a".
func describe(c renderer.Change) string { return strings.TrimSpace(string(c.Kind) + " " + what(c)) }

func what(c renderer.Change) string {
	switch {
	case c.Key != "":
		return c.Key
	case c.File != "":
		return c.File
	case c.Instance != "":
		return c.Service + "/" + c.Instance
	}
	return c.Service
}

// trouble says why what is desired is not running.
func (r report) trouble(p *page) {
	if r.Stale {
		p.text("etcd has not answered yet: what is served is what was on disk, or what the cache remembers")
	}
	if r.Error == "" {
		return
	}
	what := "not served"
	if r.Unwritten {
		what = "served, but not on disk"
	}
	text := what + " for " + cli.Age(p.now.Sub(r.ErrorSince)) + ": " + r.Error
	if r.Retry != nil {
		text += fmt.Sprintf("\nattempt %d in %s, or when something changes", r.Retry.Attempt+1, cli.Age(r.Retry.At.Sub(p.now)))
	}
	p.text(text)
}

// lists shows what was held, refused and left out.
func (r report) lists(p *page) {
	var held, leaving, quarantined, refused, skipped, unresolved [][]string
	for _, id := range r.Leaving {
		leaving = append(leaving, []string{id})
	}
	for _, id := range r.Held {
		held = append(held, []string{id})
	}
	for _, q := range r.Quarantined {
		quarantined = append(quarantined, []string{q.Service, p.ago(q.Since), strings.ReplaceAll(q.Reason, "\n", " ")})
	}
	for _, k := range r.Refused {
		refused = append(refused, []string{k.Key, k.Reason})
	}
	for _, id := range r.Skipped {
		skipped = append(skipped, []string{id, r.SkippedReasons[id]})
	}
	for _, host := range slices.Sorted(maps.Keys(r.Unresolved)) {
		unresolved = append(unresolved, []string{host, r.Unresolved[host]})
	}
	for _, l := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"held, although its lease has ended"}, held},
		{[]string{"gets no new requests, and has some running"}, leaving},
		{[]string{"quarantined", "since", "reason"}, quarantined},
		{[]string{"refused key", "reason"}, refused},
		{[]string{"not routed to", "reason"}, skipped},
		{[]string{"host", "reason"}, unresolved},
	} {
		p.list(l.header, l.rows, len(l.rows))
	}
	p.inputs("FILES THAT ARE REFUSED", r.RefusedInputs)
	p.inputs("FILES THAT ARE USED ALL THE SAME", r.InputWarnings)
}

// inputs adds what is wrong with files, in the words of whoever found out: these may be
// several lines of a server's.
func (p *page) inputs(title string, files []renderer.RefusedInput) {
	if len(files) == 0 {
		return
	}
	text := title
	for _, f := range files[:min(len(files), maxShown)] {
		reason := strings.ReplaceAll(strings.TrimSpace(f.Reason), "\n", "\n  ")
		if f.File != "" {
			reason = f.File + ": " + reason
		}
		text += "\n" + reason
	}
	if more := len(files) - maxShown; more > 0 {
		text += fmt.Sprintf("\n… and %d more", more)
	}
	p.text(text)
}

// peers shows all renderers of the same records.
func (r report) peers(p *page) {
	if r.RenderersError != "" {
		p.text("other renderers are not known: " + r.RenderersError)
		return
	}
	var rows [][]string
	for _, o := range r.Renderers {
		state := "serving"
		if !o.Healthy {
			state = orElse(o.LastError, "not serving")
		}
		id := o.ID
		if id == r.ID {
			id += " (this)"
		}
		rows = append(rows, []string{id, o.Node, o.Proxy, number(o.Applied), number(o.Drained), strconv.FormatInt(o.Lag, 10), strconv.Itoa(o.Held), state})
	}
	p.list([]string{"renderer", "node", "proxy", "applied", "drained", "lag", "held", "state"}, rows, len(rows))
}

// table adds a part.
func (p *page) table(header []string, rows [][]string) {
	p.gap()
	if p.err == nil {
		p.err = cli.Table(p.w, header, rows)
	}
}

// list adds a table unless it is empty, and says how many rows it leaves out of all.
func (p *page) list(header []string, rows [][]string, all int) {
	if len(rows) == 0 {
		return
	}
	rows = rows[:min(len(rows), maxShown)]
	p.table(header, rows)
	if more := all - len(rows); more > 0 && p.err == nil {
		_, p.err = fmt.Fprintf(p.w, "… and %d more\n", more)
	}
}

// text adds a part in words, which may quote anything.
func (p *page) text(s string) {
	p.gap()
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, printable(strings.TrimRight(s, "\n")))
	}
}

func (p *page) gap() {
	if p.any && p.err == nil {
		_, p.err = fmt.Fprintln(p.w)
	}
	p.any = true
}

func (p *page) ago(at time.Time) string { return cli.Age(p.now.Sub(at)) + " ago" }

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// printable keeps a server's words from the terminal's control.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
