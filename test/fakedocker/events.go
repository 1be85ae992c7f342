package fakedocker

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

const (
	// remembered is how many events Docker keeps for who asks for those since a moment.
	remembered = 256
	// waiting is how many may wait for one reader before, as in Docker, further ones are lost to it.
	waiting = 1024
)

// An event is what is told to the readers whose filters match it.
type event struct {
	events.Message
	container Container
}

func containerEvent(action events.Action, k *kept, more map[string]string) event {
	attributes := map[string]string{"image": imageName, "name": k.Name}
	maps.Copy(attributes, k.labels())
	maps.Copy(attributes, more)
	return event{container: k.Container, Message: events.Message{
		Type: events.ContainerEventType, Action: action, Scope: "local",
		Actor: events.Actor{ID: k.ID, Attributes: attributes},
	}}
}

func networkEvent(action events.Action, k *kept) event {
	return event{container: k.Container, Message: events.Message{
		Type: events.NetworkEventType, Action: action, Scope: "local",
		Actor: events.Actor{ID: networkID, Attributes: map[string]string{"container": k.ID, "name": "bridge", "type": "bridge"}},
	}}
}

// A reader is one subscription.
type reader struct {
	wanted filters.Args
	events chan event
}

func (r *reader) wants(e event) bool {
	return r.wanted.ExactMatch("type", string(e.Type)) &&
		// "health_status" stands for "health_status: healthy" and the like.
		r.wanted.FuzzyMatch("event", string(e.Action)) &&
		(r.wanted.ExactMatch("container", e.container.ID) || r.wanted.ExactMatch("container", e.container.Name))
}

// tell stamps an event and sends it to the readers.
func (e *Engine) tell(ev event) {
	now := time.Now()
	ev.Time, ev.TimeNano = now.Unix(), now.UnixNano()
	e.log = append(e.log, ev)
	e.log = e.log[max(0, len(e.log)-remembered):]
	for r := range e.readers {
		if r.wants(ev) {
			select {
			case r.events <- ev:
			default:
			}
		}
	}
}

// serveEvents streams what happens, after what has happened since the moment asked for.
func (e *Engine) serveEvents(w http.ResponseWriter, r *http.Request) {
	wanted, err := filters.FromJSON(r.FormValue("filters"))
	if err == nil {
		err = wanted.Validate(map[string]bool{"type": true, "event": true, "container": true})
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	since, err := moment(r.FormValue("since"))
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	me := &reader{wanted: wanted, events: make(chan event, waiting)}
	e.mu.Lock()
	for _, ev := range e.log {
		if !since.IsZero() && ev.TimeNano >= since.UnixNano() && me.wants(ev) {
			me.events <- ev
		}
	}
	e.readers[me] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.readers, me)
	}()

	out := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	for err = out.Flush(); err == nil; err = out.Flush() {
		select {
		case ev := <-me.events:
			if encoder.Encode(ev.Message) != nil {
				return // the reader has gone
			}
		case <-r.Context().Done():
			return
		case <-e.closed:
			return
		}
	}
}

// moment reads a time as the API takes it: seconds with a fraction, or RFC 3339; "" is none.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	seconds, fraction, _ := strings.Cut(s, ".")
	if n, err := strconv.ParseInt(seconds, 10, 64); err == nil {
		nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		return time.Unix(n, nanos), err
	}
	return time.Parse(time.RFC3339Nano, s)
}
