package reload

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// apacheRequests are those that Apache is working on, as its scoreboard tells: by their
// ages in whole seconds, rounded down.
type apacheRequests struct {
	oldest int // -1 if there is none
	// streams says that some of them are connections of HTTP/2, whose requests are elsewhere.
	streams bool
}

// A row of the scoreboard: mode, then CPU and the age, the client's protocol and the request.
var apacheRow = regexp.MustCompile(`(?s)<tr><td><b>\d+-\d+</b></td><td>[^<]*</td><td>[^<]*</td><td>(?:<b>)?(\S)(?:</b>)?\s*</td><td>[^<]*</td><td>(\d+)</td>.*?<td>([^<]*)</td><td nowrap>[^<]*</td><td nowrap>([^<]*)</td></tr>`)

// requests reads the scoreboard, less the request that reads it.
func (a *Apache) requests(ctx context.Context) (apacheRequests, error) {
	page, err := a.control.get(ctx, apacheScoreboard)
	if err != nil {
		return apacheRequests{}, err
	}
	return parseApacheRequests(page)
}

const apacheScoreboard = "/rollcall/status"

func parseApacheRequests(page string) (apacheRequests, error) {
	r, own := apacheRequests{oldest: -1}, false
	for _, row := range apacheRow.FindAllStringSubmatch(page, -1) {
		mode, protocol, request := row[1], row[3], row[4]
		if strings.Contains("_.KIS", mode) { // idle, not there, kept, ending idle, starting
			continue
		}
		if !own && strings.Contains(request, " "+apacheScoreboard+" ") {
			own = true
			continue
		}
		age, err := strconv.Atoi(row[2])
		if err != nil {
			return r, err
		}
		r.oldest = max(r.oldest, age)
		r.streams = r.streams || strings.HasPrefix(protocol, "h2")
	}
	if !own {
		return r, errors.New("apache's scoreboard does not show the request that asks for it")
	}
	return r, nil
}

// since says that all of them began within this time.
func (r apacheRequests) since(d time.Duration) bool {
	return r.oldest < 0 || time.Duration(r.oldest+1)*time.Second <= d
}
