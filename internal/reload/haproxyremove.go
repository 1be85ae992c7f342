package reload

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// removal gives the commands that delete servers.
func removal(list []*haServer) []string {
	commands := make([]string, len(list))
	for i, server := range list {
		commands[i] = "del server " + server.String()
	}
	return commands
}

// removed notes which are deleted. Those that something runs on, or is connected to, are
// not. Any other refusal is an error: it would stand, and they would leave for ever.
func (l *haLive) removed(list []*haServer, answers []string) (err error) {
	for i, server := range list {
		switch answer := answers[i]; {
		case answer == haDeleted || answer == haUnknown:
			server.place.forget(server)
			l.left(server)
		case !strings.HasPrefix(answer, haBusy):
			err = fmt.Errorf("%w: %s cannot be deleted: %q", errStale, server, firstLine(answer))
		}
	}
	return err
}

// remove deletes those of the servers on which nothing runs any more. One to which a
// connection is kept is not deleted either, and HAProxy closes those at its leisure. It
// does so at once when a server goes into maintenance. A server that is found without a
// request for the first time may have one that another thread is about to close.
func (l *haLive) remove(ctx context.Context, api *runtimeAPI, list []*haServer) error {
	idle, err := l.idle(ctx, api, list)
	if err != nil {
		return err
	}
	var commands []string
	for _, server := range idle {
		if server.idle++; server.idle == 1 {
			l.found(server)
		} else {
			commands = append(commands, "set server "+server.String()+" state drain", "set server "+server.String()+" state maint")
		}
	}
	purging := len(commands)
	answers, err := api.ask(ctx, append(commands, removal(idle)...))
	if err != nil {
		return err
	}
	return l.removed(idle, answers[purging:])
}

// maxSingle is of how many servers of a backend one is asked for at a time. HAProxy goes
// through all of them for each: measured, 60 µs with 2,000, where all at once take 4.4 ms.
const maxSingle = 64

// idle gives those of the servers on which nothing runs, or which are not there any more.
func (l *haLive) idle(ctx context.Context, api *runtimeAPI, list []*haServer) (idle []*haServer, err error) {
	of := map[*haPlace]int{}
	for _, server := range list {
		of[server.place]++
	}
	var commands []string
	for _, server := range list {
		if of[server.place] <= maxSingle {
			commands = append(commands, "show stat "+server.place.name+" 4 "+strconv.Itoa(server.id))
		}
	}
	for place, n := range of {
		if n > maxSingle {
			commands = append(commands, "show stat "+place.name+" 4 -1")
		}
	}
	answers, err := api.ask(ctx, commands)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for _, table := range answers {
		for server, sessions := range statsOf(table, "scur") {
			running[server] = sessions != "0"
		}
	}
	for _, server := range list {
		if !running[server.String()] {
			idle = append(idle, server)
		}
	}
	return idle, nil
}

// statsOf reads a column of a table in CSV, before any that could hold a comma, by the
// names of the servers.
func statsOf(table, column string) map[string]string {
	head, rest, _ := strings.Cut(table, "\n")
	at := slices.Index(strings.Split(strings.TrimPrefix(head, "# "), ","), column)
	values := map[string]string{}
	for line := range strings.Lines(rest) {
		if row := strings.SplitN(line, ",", at+2); at >= 0 && len(row) > max(at, 1) {
			values[row[0]+"/"+row[1]] = row[at]
		}
	}
	return values
}
