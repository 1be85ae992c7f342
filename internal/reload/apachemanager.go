package reload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// An apacheHost is a virtual host, and how it is reached from this machine.
type apacheHost struct {
	scheme, address, name string
}

// parseApachePlace reads a place of a Pool: "http://www.example.com@127.0.0.1:80/rollcall-web".
func parseApachePlace(place string) (h apacheHost, balancer string, err error) {
	u, err := url.Parse(place)
	if err != nil {
		return h, "", fmt.Errorf("place of a balancer: %w", err)
	}
	h = apacheHost{u.Scheme, u.Host, u.User.Username()}
	balancer = strings.TrimPrefix(u.Path, "/")
	if h.scheme != "http" && h.scheme != "https" || h.address == "" || h.name == "" || balancer == "" {
		return h, "", fmt.Errorf("place of a balancer: %q names no host, address or balancer", place)
	}
	return h, balancer, nil
}

// apachePathDigits are those of the secret that are in the path of the managers. The others
// are sent in a header, because paths show in logs and on the server's status page.
const apachePathDigits = 8

// apacheManagers speaks with Apache's balancer managers: there is one in each virtual host.
// Its connections are for one errand: one that was kept longer would be answered by the
// child that took it, however old.
type apacheManagers struct {
	path, key string
	clients   map[apacheHost]*http.Client
}

func newApacheManagers(secret string) *apacheManagers {
	digits := min(apachePathDigits, len(secret))
	return &apacheManagers{path: "/rollcall/members-" + secret[:digits], key: secret[digits:], clients: map[apacheHost]*http.Client{}}
}

func (m *apacheManagers) close() {
	for _, c := range m.clients {
		c.CloseIdleConnections()
	}
}

// client gives the one for the host's listener, and with TLS for the host: a connection is
// for the name that it began with.
func (m *apacheManagers) client(h apacheHost) *http.Client {
	if h.scheme == "http" {
		h.name = ""
	}
	c := m.clients[h]
	if c == nil {
		c = &http.Client{
			Transport: &http.Transport{
				// The listener is on this machine; its certificate is for others.
				TLSClientConfig: &tls.Config{ServerName: h.name, InsecureSkipVerify: true},
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       10 * time.Second,
		}
		m.clients[h] = c
	}
	return c
}

// read gives what the manager of a host says.
func (m *apacheManagers) read(ctx context.Context, h apacheHost) (apachePage, error) {
	return m.ask(ctx, h, nil, true)
}

// change has a balancer changed, and gives what the manager says then if that is asked
// for: it says so much that nobody should listen to it after each of many changes.
func (m *apacheManagers) change(ctx context.Context, h apacheHost, c apacheChange, listen bool) (apachePage, error) {
	c.set.Set("xml", "1")
	c.set.Set("b", c.balancer)
	c.set.Set("nonce", m.key)
	return m.ask(ctx, h, c.set, listen)
}

// errApacheRefused is what the manager says when it has no room for another member.
var errApacheRefused = errors.New("the balancer manager refuses to add a member: there is no room left")

func (m *apacheManagers) ask(ctx context.Context, h apacheHost, set url.Values, listen bool) (page apachePage, err error) {
	const most = 64 << 20 // bytes, fifty thousand members of one host
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask the balancer manager of %s at %s: %w", h.name, h.address, err)
		}
	}()
	method, address := http.MethodGet, h.scheme+"://"+h.address+m.path
	if set == nil {
		address += "?xml=1"
	} else {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(set.Encode()))
	if err != nil {
		return nil, err
	}
	req.Host = h.name
	req.Header.Set("X-Rollcall-Members", m.key)
	req.Header.Set("Referer", h.scheme+"://"+h.name+"/") // else it takes the request for one from a foreign page
	if set != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := m.client(h).Do(req)
	if err != nil {
		return nil, errors.Unwrap(err) // the address is named already
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest:
		return nil, errApacheRefused
	default:
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	if !listen {
		return nil, nil // it answers when the change is made
	}
	content, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, err
	}
	return parseApachePage(content)
}
