package reload

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"

	"rollcall/internal/templates"
)

// An apachePage is what the balancer manager says about the balancers of a virtual host.
type apachePage map[string]*apacheBalancer // by name

type apacheBalancer struct {
	name     string
	attempts int // other servers that are tried for a request; -1 if that was never said
	workers  []apacheWorker
}

// An apacheWorker is a member of a balancer. Apache never forgets one, until a reload.
type apacheWorker struct {
	url    string
	factor int    // hundredths
	status string // words: "Init Ok ", "Init Drn Dis "
	busy   uint64 // requests that are running
}

// both gives the balancer of a name and its double, as far as they are there.
func (p apachePage) both(name string) (list []*apacheBalancer) {
	for _, n := range []string{name, templates.ApacheDouble + name} {
		if b := p[n]; b != nil {
			list = append(list, b)
		}
	}
	return list
}

var errApachePage = errors.New("what the balancer manager says is not whole")

// parseApachePage reads the manager's XML. It is no XML parser: that would take longer
// for a thousand members than Apache itself takes, and the values are plain words.
func parseApachePage(page []byte) (apachePage, error) {
	found := apachePage{}
	var b *apacheBalancer
	var w *apacheWorker
	for {
		begin := bytes.IndexByte(page, '<')
		end := bytes.IndexByte(page, '>')
		if begin < 0 || end < begin {
			return nil, errApachePage
		}
		tag := page[begin+1 : end]
		page = page[end+1:]
		value := page[:max(0, bytes.IndexByte(page, '<'))]
		var err error
		switch string(tag) {
		case "/httpd:manager":
			return found, nil
		case "httpd:balancer":
			b, w = &apacheBalancer{attempts: -1}, nil
		case "httpd:worker":
			if b != nil {
				b.workers = append(b.workers, apacheWorker{})
				w = &b.workers[len(b.workers)-1]
			}
		case "httpd:name", "httpd:maxattempts", "httpd:status", "httpd:loadfactor", "httpd:busy":
			switch {
			case w != nil:
				err = w.read(string(tag), string(value))
			case b == nil:
			case string(tag) == "httpd:name":
				b.name = strings.TrimPrefix(string(value), "balancer://")
				found[b.name] = b
			case string(tag) == "httpd:maxattempts":
				b.attempts, err = strconv.Atoi(string(value))
			}
		}
		if err != nil {
			return nil, errors.Join(errApachePage, err)
		}
		if end := len(value) + len(tag) + 3; bytes.HasPrefix(page[len(value):], []byte("</")) && end <= len(page) {
			page = page[end:]
		}
	}
}

func (w *apacheWorker) read(tag, value string) (err error) {
	switch tag {
	case "httpd:name":
		w.url = value
	case "httpd:status":
		w.status = value
	case "httpd:loadfactor":
		var f float64
		f, err = strconv.ParseFloat(value, 64)
		w.factor = int(math.Round(max(0, min(f, 1e6)) * 100))
	case "httpd:busy":
		w.busy, err = strconv.ParseUint(value, 10, 64)
	}
	return err
}

// has says whether one of the words of the status is among the given.
func (w apacheWorker) has(words ...string) bool {
	for word := range strings.FieldsSeq(w.status) {
		for _, other := range words {
			if word == other {
				return true
			}
		}
	}
	return false
}

// off says that it gets no new requests: it is drained, disabled or stopped.
func (w apacheWorker) off() bool { return w.has("Drn", "Dis", "Stop") }

// plain says that nothing but an error keeps it from getting its share of the requests.
func (w apacheWorker) plain() bool { return !w.off() && !w.has("Stby", "Spar") }

// ignoring says that an error does not keep it from being chosen again.
func (w apacheWorker) ignoring() bool { return w.has("Ign") }

// address gives what stands behind the scheme. Apache leaves a port out that is the scheme's
// own, which is the same for all that members have.
func (w apacheWorker) address() string {
	_, address, _ := strings.Cut(w.url, "://")
	if strings.LastIndexByte(address, ':') <= strings.LastIndexByte(address, ']') {
		address += ":80"
	}
	return address
}

// added says that it came while Apache ran: see addedScheme.
func (w apacheWorker) added() bool { return strings.HasPrefix(w.url, addedScheme) }
