package announcer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"rollcall/internal/discovery"
)

// An end is what was removed, by its id, or who died, by service, at a revision.
type end struct {
	id, service string
	revision    int64
	dead        bool
}

// ends gives all of them in a fixed order, the dead last.
func ends(removed, dead map[string]int64) []end {
	var all []end
	for id, revision := range removed {
		service, _, _ := strings.Cut(id, "/")
		all = append(all, end{id: id, service: service, revision: revision})
	}
	slices.SortFunc(all, func(x, y end) int { return strings.Compare(x.id, y.id) })
	for service, revision := range dead {
		all = append(all, end{service: service, revision: revision, dead: true})
	}
	return all
}

// over says whether a renderer is proven to have nothing to do with it any more.
func (e end) over(a *discovery.Acknowledgement) bool {
	if e.dead {
		return max(a.Finished, a.Drained) >= e.revision
	}
	return a.Gone(e.id, e.revision)
}

// lacking says what a renderer has yet to do for ends that are not over; nothing, if there are none.
func lacking(a *discovery.Acknowledgement, open []end) string {
	if len(open) == 0 {
		return ""
	}
	var newest int64
	var busy []string
	held := ""
	for _, e := range open {
		newest = max(newest, e.revision)
		switch {
		case e.dead:
		case a.Holds(e.id):
			held = e.id
		case a.NamesBusy(e.id):
			busy = append(busy, e.id)
		}
	}
	finished := max(a.Finished, a.Drained)
	switch {
	case a.Applied < newest:
		return fmt.Sprintf("has applied revision %d of %d", a.Applied, newest)
	case finished < newest:
		return fmt.Sprintf("has drained revision %d of %d", finished, newest)
	case held != "":
		return "still holds " + held + ", of which it does not know that it is gone for good"
	case len(busy) > 0:
		return "still has requests running to " + strings.Join(few(busy), ", ")
	default:
		return "still has requests running to more instances than it can name, and perhaps to " + open[0].id
	}
}

// printable makes one line of what a renderer wrote, which may be all that its server said.
func printable(s string) string {
	const most = 300
	line := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(line) > most {
		return strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
