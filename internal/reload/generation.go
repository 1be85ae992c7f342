package reload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// GenerationPath is where a server says which configuration it serves: the generation is
// the first word of the answer. The second, where its members change while it runs, is
// the structure.
const GenerationPath = "/rollcall/generation"

// An endpoint is a server's own listener, for render only: a unix socket or a
// loopback address.
type endpoint struct {
	network, address string
}

// generation gives what the server says that it serves.
func (e endpoint) generation(ctx context.Context) (Serving, error) {
	body, err := e.get(ctx, GenerationPath)
	if err != nil {
		return Serving{}, fmt.Errorf("ask %s for its generation: %w", e.address, err)
	}
	words := strings.Fields(body[:min(len(body), 4096)])
	if len(words) == 0 {
		return Serving{}, fmt.Errorf("ask %s for its generation: empty answer", e.address)
	}
	serving := Serving{Generation: words[0]}
	if len(words) > 1 {
		serving.Structure = words[1]
	}
	return serving, nil
}

// get gives the body of an answer.
func (e endpoint) get(ctx context.Context, path string) (string, error) {
	body, _, err := e.ask(ctx, path)
	return body, err
}

// ask does so on a connection of its own: one that was kept open would be answered by the
// worker that took it, however old.
func (e endpoint) ask(ctx context.Context, path string) (string, http.Header, error) {
	const most = 1 << 20 // bytes
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, e.network, e.address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://rollcall.invalid"+path, nil)
	if err != nil {
		return "", nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("answered %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	return string(body), resp.Header, err
}
