package discovery

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// OwnPrefix is the key below which rollcall keeps what is its own, never a record.
const OwnPrefix = "/rollcall"

// The keys below OwnPrefix.
const (
	RenderersPrefix = OwnPrefix + "/renderers" // <id> → Acknowledgement, leased
	DrainsPrefix    = OwnPrefix + "/drains"    // <service>/<instance> → Drain, durable
)

// An Acknowledgement is what a live renderer says about itself: which services
// it covers, and up to which revision its balancer is proven to follow etcd.
type Acknowledgement struct {
	ID       string   `json:"-"`                  // the last part of its key
	Prefix   string   `json:"prefix"`             // the records' prefix it reads
	Services []string `json:"services,omitempty"` // the services it covers; empty means all
	Proxy    string   `json:"proxy"`              // nginx, apache, haproxy
	Node     string   `json:"node"`
	// Output is the file that is kept, which tells two renderers of one node apart.
	Output string `json:"output,omitempty"`

	// Applied: every worker that accepts connections serves a configuration at
	// least as new as this revision.
	Applied int64 `json:"applied"`
	// Finished: besides, no worker of an older configuration is left. All that may still
	// be running of what was removed by this revision are requests to those in Busy.
	Finished int64 `json:"finished"`
	// Drained: besides, no request to any instance removed by this revision is running.
	Drained int64 `json:"drained"`

	// Skipped names instances, as "service/instance", that are in the catalog but
	// cannot be routed to: their host name does not resolve, say.
	Skipped []string `json:"skipped,omitempty"`
	// Held names instances that are, or may yet be, routed to although their records are
	// gone, see Instance.Held and Catalog.Mourned, or lead elsewhere by now. Nobody may take
	// one of them for gone.
	Held []string `json:"held,omitempty"`

	// Busy names instances, as "service/instance", that were removed and get no new requests,
	// while one that began before may still be running. A service stands for one of its
	// instances of which only the address is known.
	Busy []string `json:"busy,omitempty"`

	// More says that Skipped does not name them all, MoreHeld that Held does not, MoreBusy
	// that Busy does not.
	More     bool `json:"more_skipped,omitempty"`
	MoreHeld bool `json:"more_held,omitempty"`
	MoreBusy bool `json:"more_busy,omitempty"`

	Generation string `json:"generation,omitempty"`
	Healthy    bool   `json:"healthy"`
	LastError  string `json:"last_error,omitempty"`
}

// Covers says whether the renderer routes to the service.
func (a *Acknowledgement) Covers(prefix, service string) bool {
	return a.Prefix == prefix && (len(a.Services) == 0 || slices.Contains(a.Services, service))
}

// Routes says whether the balancer is proven to send requests to an instance. None are
// sent to one of weight 0.
func (a *Acknowledgement) Routes(prefix string, i *Instance) bool {
	return i.Weight > 0 && a.Covers(prefix, i.Service) && a.Applied >= i.Revision && !a.More && !slices.Contains(a.Skipped, i.ID())
}

// Gone says whether the balancer is proven to be done with an instance that was removed by
// the revision: no request to it is running, and none will be sent. The id is as for Holds.
// What an older render writes has no Finished: only Drained counts there.
func (a *Acknowledgement) Gone(id string, revision int64) bool {
	switch {
	case a.Holds(id):
		return false
	case a.Drained >= revision:
		return true
	default:
		return a.Finished >= revision && !a.MoreBusy && !a.NamesBusy(id)
	}
}

// Holds says whether the balancer may route to an instance whose record is gone. The id
// is "service/instance", or that of a service for any of its instances.
func (a *Acknowledgement) Holds(id string) bool {
	return a.MoreHeld || a.NamesHeld(id)
}

// NamesHeld says whether Held names the instance, or any of the service.
func (a *Acknowledgement) NamesHeld(id string) bool { return names(a.Held, id) }

// NamesBusy says whether Busy names the instance, or any of the service, or may mean it.
func (a *Acknowledgement) NamesBusy(id string) bool {
	service, _, _ := strings.Cut(id, "/")
	return names(a.Busy, id) || slices.Contains(a.Busy, service)
}

// names says whether a list of instances has the one, or any of the service.
func names(list []string, id string) bool {
	return slices.ContainsFunc(list, func(other string) bool {
		return other == id || strings.HasPrefix(other, id+"/")
	})
}

// Key gives the key the acknowledgement is kept under.
func (a *Acknowledgement) Key() string { return RenderersPrefix + "/" + a.ID }

// Encode gives the value to be written.
func (a *Acknowledgement) Encode() (string, error) {
	b, err := json.Marshal(a)
	return string(b), err
}

// DecodeAcknowledgement reads what a renderer wrote under key.
func DecodeAcknowledgement(key string, value []byte) (*Acknowledgement, error) {
	id, ok := strings.CutPrefix(key, RenderersPrefix+"/")
	if !ok {
		return nil, fmt.Errorf("key %s is not below %s", quote(key), RenderersPrefix)
	}
	if id == "" || strings.Contains(id, "/") || validateText(id, maxName) != nil {
		return nil, fmt.Errorf("key %s does not end in a renderer's id", quote(key))
	}
	if len(value) > maxRecord {
		return nil, fmt.Errorf("key %s: value is longer than %d bytes", quote(key), maxRecord)
	}
	a := &Acknowledgement{}
	if err := json.Unmarshal(value, a); err != nil {
		return nil, fmt.Errorf("key %s: not an acknowledgement: %w", quote(key), err)
	}
	for _, text := range []string{a.Proxy, a.Node} {
		if err := validateText(text, maxText); err != nil {
			return nil, fmt.Errorf("key %s: proxy or node %w", quote(key), err)
		}
	}
	a.ID = id
	return a, nil
}

// A Drain is an operator's order that an instance is to be kept out of every
// balancer although its container runs. It outlives every process.
type Drain struct {
	Since time.Time `json:"since"`
	By    string    `json:"by,omitempty"`
	// Revision is the one at which the record was seen to go; 0 before that. Who
	// waits for the drain later can learn it nowhere else.
	Revision int64 `json:"revision,omitempty"`
}

// DrainKey gives the key that orders service/instance to be drained.
func DrainKey(service, instance string) string {
	return DrainsPrefix + "/" + service + "/" + instance
}

// ParseDrainKey gives the "service/instance" that a key below DrainsPrefix orders to be drained.
func ParseDrainKey(key string) (id string, ok bool) {
	id, ok = strings.CutPrefix(key, DrainsPrefix+"/")
	if !ok {
		return "", false
	}
	_, _, err := ParseID(id)
	return id, err == nil
}

// ParseID splits and validates "service/instance".
func ParseID(id string) (service, instance string, err error) {
	service, instance, ok := strings.Cut(id, "/")
	if !ok {
		return "", "", fmt.Errorf("%s is not SERVICE/INSTANCE", quote(id))
	}
	if err := ValidateName(service); err != nil {
		return "", "", fmt.Errorf("service %w", err)
	}
	if err := ValidateInstanceName(instance); err != nil {
		return "", "", fmt.Errorf("instance %w", err)
	}
	return service, instance, nil
}
