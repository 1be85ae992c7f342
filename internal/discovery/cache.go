package discovery

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

const (
	// cacheFormat is the first line's word for what follows, with its version.
	cacheFormat = "rollcall catalog 1"
	// maxCache and maxCacheLine bound what is read, in bytes.
	maxCache     = 256 << 20
	maxCacheLine = 1 << 20
)

// cacheHead is the first line of a cache.
type cacheHead struct {
	Format    string    `json:"format"`
	Prefix    string    `json:"prefix"`
	Revision  int64     `json:"revision"`
	Written   time.Time `json:"written"`
	Instances int       `json:"instances"`
}

// A cached instance is one of the other lines.
type cached struct {
	Service  string            `json:"service"`
	Instance string            `json:"instance"`
	Revision int64             `json:"revision"`
	Lease    int64             `json:"lease,omitempty"`
	Record   wire              `json:"record"`
	Extra    map[string]string `json:"extra,omitempty"`
}

// WriteCache writes a catalog so that ReadCache can read it: a line of JSON that says
// what it is, and one for each instance. What is refused is left out.
func WriteCache(w io.Writer, prefix string, c *Catalog, written time.Time) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(cacheHead{cacheFormat, prefix, c.Revision, written.UTC(), c.Len()}); err != nil {
		return err
	}
	for _, s := range c.Services {
		for _, i := range s.Instances {
			if err := e.Encode(cached{s.Name, i.Name, i.Revision, i.Lease, i.wire(), i.Extra}); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadCache reads what WriteCache wrote, and when that was. Every record is validated as
// if it came from etcd: one that is not valid any more is refused. The catalog is stale.
func ReadCache(r io.Reader, prefix string) (c *Catalog, written time.Time, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxCache))
	lines.Buffer(nil, maxCacheLine)
	var head cacheHead
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &head) != nil || head.Format != cacheFormat {
		return nil, time.Time{}, fmt.Errorf("not a %q", cacheFormat)
	}
	if head.Prefix != prefix {
		return nil, time.Time{}, fmt.Errorf("it is of the records below %s", quote(head.Prefix))
	}
	c = &Catalog{Revision: head.Revision, Stale: true}
	last, count := cached{}, 0
	for lines.Scan() {
		count++
		next, i, err := readCached(lines.Bytes())
		if next == nil {
			return nil, time.Time{}, fmt.Errorf("instance %d: %w", count, err)
		}
		if cmp.Or(cmp.Compare(last.Service, next.Service), cmp.Compare(last.Instance, next.Instance)) >= 0 {
			return nil, time.Time{}, fmt.Errorf("instance %d: not in order", count)
		}
		last = *next
		if err != nil {
			c.Refused = append(c.Refused, Refusal{Key: prefix + "/" + next.Service + "/" + next.Instance, Reason: err.Error(), Revision: next.Revision})
			continue
		}
		if n := len(c.Services); n == 0 || c.Services[n-1].Name != i.Service {
			c.Services = append(c.Services, &Service{Name: i.Service})
		}
		s := c.Services[len(c.Services)-1]
		s.Instances = append(s.Instances, i)
	}
	switch {
	case lines.Err() != nil:
		return nil, time.Time{}, lines.Err()
	case count != head.Instances:
		return nil, time.Time{}, fmt.Errorf("%d instances, of %d", count, head.Instances)
	}
	return c, head.Written, nil
}

// readCached reads one line. What is nil is no instance at all; an error beside it says
// why the instance is refused.
func readCached(line []byte) (*cached, *Instance, error) {
	var raw struct {
		cached
		Record json.RawMessage `json:"record"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if !utf8.Valid(line) {
		return nil, nil, errors.New("not valid UTF-8") // encoding/json would mend it in silence
	}
	if err := d.Decode(&raw); err != nil {
		return nil, nil, errors.New("not an instance")
	}
	i := &Instance{Service: raw.Service, Name: raw.Instance, Proto: "tcp", Weight: DefaultWeight, Revision: raw.Revision, Lease: raw.Lease}
	if err := i.decodeJSON(raw.Record); err != nil {
		return &raw.cached, nil, err
	}
	for k, v := range raw.Extra {
		i.setExtra(k, v)
	}
	if err := i.canonicalize(); err != nil {
		return &raw.cached, nil, err
	}
	return &raw.cached, i, nil
}
