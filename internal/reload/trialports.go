package reload

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// edit changes the directives of a file by which a trial would disturb the running
// server. Lines stay where they are: the server's words name them.
func (t *trial) edit(content []byte) []byte {
	var out []byte // nil until something differs
	at := 0
	for line := range bytes.Lines(content) {
		if changed, ok := t.directive(line); ok {
			if out == nil {
				out = append(make([]byte, 0, len(content)+256), content[:at]...)
			}
			out = append(out, changed+"\n"...)
		} else if out != nil {
			out = append(out, line...)
		}
		at += len(line)
	}
	if out == nil {
		return content
	}
	return out
}

// directive gives what stands in a line's place; ok is false for nearly all of them.
func (t *trial) directive(line []byte) (changed string, ok bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || !strings.ContainsRune("LlEeSs<", rune(line[0])) {
		return "", false
	}
	end := bytes.IndexAny(line, " \t")
	if end < 0 || end > len("ScoreBoardFile") {
		return "", false
	}
	rest := string(line[end:])
	switch strings.ToLower(string(line[:end])) {
	case "listen":
		return "Listen " + t.moved.listening(rest), true
	case "<virtualhost":
		return "<VirtualHost " + t.moved.hosts(strings.TrimSuffix(rest, ">")) + ">", true
	case "errorlog": // that its directory is there, the check has seen
		return "ErrorLog /dev/stderr", true
	case "scoreboardfile":
		return `ScoreBoardFile "` + escapeQuotes(filepath.Join(t.dir, t.w.mark+"scoreboard")) + `"`, true
	}
	return "", false
}

// movedPorts are the addresses of a configuration, and where a trial has them.
type movedPorts struct {
	to     map[string]string // by the address's one form
	listen map[string]bool   // those forms that are listened on
	held   []net.Listener    // until all are chosen, so that each is another
	err    error             // why one could not be chosen
}

// listening moves what Listen says: "80", "[::]:443 https".
func (m *movedPorts) listening(args string) string {
	fields := strings.Fields(strings.ReplaceAll(args, `"`, ""))
	if len(fields) == 0 {
		return args // for the server to complain about
	}
	address, protocol := fields[0], fields[1:]
	host, port := splitAddress(address)
	if len(protocol) == 0 && port == "443" {
		protocol = []string{"https"} // only there is it the default
	}
	m.listen[host+":"+port] = true
	return strings.Join(append([]string{m.move(host, port)}, protocol...), " ")
}

// hosts moves the addresses of a virtual host, so that it stays the one of its listener.
func (m *movedPorts) hosts(args string) string {
	fields := strings.Fields(strings.ReplaceAll(args, `"`, ""))
	for i, address := range fields {
		host, port := splitAddress(address)
		if strings.Contains(address, ":") && port != "" && port != "*" { // the others are for every port
			fields[i] = m.move(host, port)
		}
	}
	return strings.Join(fields, " ")
}

// splitAddress gives the one form of an address's host, "*" for every one, and the port.
func splitAddress(address string) (host, port string) {
	at := strings.LastIndexByte(address, ':')
	if strings.HasSuffix(address, "]") {
		return strings.ToLower(address), ""
	}
	if at < 0 {
		return "*", address
	}
	host = strings.ToLower(address[:at])
	switch host {
	case "", "0.0.0.0", "_default_":
		host = "*"
	}
	return host, address[at+1:]
}

// move gives the free port on the loopback interface that stands for an address.
func (m *movedPorts) move(host, port string) string {
	key := host + ":" + port
	if to, ok := m.to[key]; ok {
		return to
	}
	loopback := "127.0.0.1:0"
	if strings.HasPrefix(host, "[") {
		loopback = "[::1]:0"
	}
	l, err := net.Listen("tcp", loopback)
	if err != nil {
		m.err = fmt.Errorf("find a port in the place of %s: %w", key, err)
		return key
	}
	m.held = append(m.held, l)
	m.to[key] = l.Addr().String()
	return m.to[key]
}

// listens says where the trial listens in the place of an address.
func (m *movedPorts) listens(address string) (string, bool) {
	host, port := splitAddress(address)
	return m.to[host+":"+port], m.listen[host+":"+port]
}

// release lets the server have the ports.
func (m *movedPorts) release() {
	for _, l := range m.held {
		_ = l.Close()
	}
	m.held = nil
}

// real gives a message of the server the addresses that people know.
func (m *movedPorts) real(message string) string {
	for address, moved := range m.to {
		message = strings.ReplaceAll(message, moved, address)
	}
	return message
}
