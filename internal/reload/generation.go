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

// GenerationPath is where a server says which configuration it serves: the
// generation is the first word of the answer.
const GenerationPath = "/rollcall/generation"

// An endpoint is a server's own listener, for render only: a unix socket or a
// loopback address.
type endpoint struct {
	network, address string
}

// generation asks on a connection of its own: one that was kept open would be
// answered by the worker that took it, however old.
func (e endpoint) generation(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, e.network, e.address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://rollcall.invalid"+GenerationPath, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask %s for its generation: %w", e.address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask %s for its generation: answered %s", e.address, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return "", fmt.Errorf("ask %s for its generation: %w", e.address, err)
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(body)), " ")
	if word == "" {
		return "", fmt.Errorf("ask %s for its generation: empty answer", e.address)
	}
	return word, nil
}
