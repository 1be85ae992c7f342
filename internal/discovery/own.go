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

	// Applied: every worker that accepts connections serves a configuration at
	// least as new as this revision.
	Applied int64 `json:"applied"`
	// Drained: besides, no worker of an older configuration is left, so no
	// request to an instance removed by this revision is running.
	Drained int64 `json:"drained"`

	// Skipped names instances, as "service/instance", that are in the catalog but
	// cannot be routed to: their host name does not resolve, say.
	Skipped []string `json:"skipped,omitempty"`
	// More says that Skipped does not name them all.
	More bool `json:"more_skipped,omitempty"`

	Generation string `json:"generation,omitempty"`
	Healthy    bool   `json:"healthy"`
	LastError  string `json:"last_error,omitempty"`
}

// Covers says whether the renderer routes to the service.
func (a *Acknowledgement) Covers(prefix, service string) bool {
	return a.Prefix == prefix && (len(a.Services) == 0 || slices.Contains(a.Services, service))
}

// Routes says whether the balancer is proven to send requests to an instance.
func (a *Acknowledgement) Routes(prefix string, i *Instance) bool {
	return a.Covers(prefix, i.Service) && a.Applied >= i.Revision && !a.More && !slices.Contains(a.Skipped, i.ID())
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
