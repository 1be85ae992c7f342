package reload

import (
	"strings"
	"testing"
	"time"
)

func TestApacheRequests(t *testing.T) {
	row := func(mode, age, protocol, request string) string {
		return "<tr><td><b>0-0</b></td><td>20253</td><td>0/1/1</td><td>" + mode + "\n</td><td>0.00</td><td>" + age +
			"</td><td>2001</td><td>2001</td><td>0.0</td><td>0.00</td><td>0.00\n</td><td>127.0.0.1</td><td>" + protocol +
			"</td><td nowrap>rollcall-default.invalid:12642</td><td nowrap>" + request + "</td></tr>\n"
	}
	own := row("<b>W</b>", "0", "http/1.1", "GET /rollcall/status HTTP/1.1")
	tests := []struct {
		name   string
		rows   string
		want   apacheRequests
		failed bool
	}{
		{"nobody but us", own + row("_", "90", "http/1.1", "GET / HTTP/1.1") + row("K", "7", "http/1.1", "GET / HTTP/1.1"), apacheRequests{oldest: -1}, false},
		{"the oldest counts", own + row("<b>W</b>", "2", "http/1.1", "GET / HTTP/1.1") + row("<b>R</b>", "1", "", ""), apacheRequests{oldest: 2}, false},
		{"one that finishes for an older configuration", row("<b>G</b>", "30", "http/1.1", "GET / HTTP/1.1") + own, apacheRequests{oldest: 30}, false},
		{"streams", own + row("<b>W</b>", "5", "h2", "GET / HTTP/2.0"), apacheRequests{oldest: 5, streams: true}, false},
		{"somebody else who asks the same", own + own, apacheRequests{oldest: 0}, false},
		{"another page", "<html></html>", apacheRequests{oldest: -1}, true},
	}
	for _, tt := range tests {
		got, err := parseApacheRequests("<table>\n" + tt.rows + "</table>")
		if got != tt.want || (err != nil) != tt.failed {
			t.Errorf("%s: got %+v, %v", tt.name, got, err)
		}
	}
	if r := (apacheRequests{oldest: 2}); r.since(2900*time.Millisecond) || !r.since(3*time.Second) {
		t.Error("a request of two to three seconds is told wrongly from one before and after")
	}
	if !strings.Contains(own, apacheScoreboard) || !(apacheRequests{oldest: -1}).since(0) {
		t.Error("with no request running, none is too old")
	}
}
