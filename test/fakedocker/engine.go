// Package fakedocker is a stand-in for a Docker engine, for measurements with more containers
// than a machine carries: it answers as Docker 20.10 does on a unix socket, as slowly as
// it does if that is wanted, and its containers start and die when they are told to.
//
// It knows what a reader asks for (ping, info, list, inspect, events) and refuses the
// rest; its containers are all alike, on the default network with one published port.
package fakedocker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Latency is what answers take in addition to the making of them. The zero value answers
// as fast as it can.
type Latency struct {
	Inspect  time.Duration
	List     time.Duration
	ListEach time.Duration // in addition, for each container on the list
}

// Measured makes answers as slow, for whoever asks, as those of a Docker 20.10 engine on
// a machine of two cores: .6 ms for an inspection, and .7, 2.3 and 8 ms for a list of 1,
// 20 and 100 containers. About half of an inspection passes without any addition.
func Measured() Latency {
	return Latency{Inspect: 250 * time.Microsecond, List: 300 * time.Microsecond, ListEach: 60 * time.Microsecond}
}

// A Container is one of the engine's. It carries the labels rollcall.service=bench and
// rollcall.instance=<its name>.
type Container struct {
	ID, Name string
}

// An Engine is safe for use by many goroutines.
type Engine struct {
	latency Latency
	dir     string
	server  *http.Server
	served  chan error
	closed  chan struct{} // ends the subscriptions

	mu         sync.Mutex
	made       int              // containers made so far
	containers map[string]*kept // by id
	names      map[string]*kept
	log        []event // the last ones, for who subscribes from a moment on
	readers    map[*reader]bool
}

// kept is a container with the answers about it, which are encoded once: the engine
// shares its processors with the program that is measured.
type kept struct {
	Container
	number           int
	running          bool
	inspect, summary []byte
}

// Start runs an engine with n containers, c-1 to c-n.
func Start(n int, l Latency) (*Engine, error) {
	// Not in a test's directory: its name may be longer than a socket's may be.
	dir, err := os.MkdirTemp("", "engine-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	e := &Engine{
		latency: l, dir: dir, served: make(chan error, 1), closed: make(chan struct{}),
		containers: map[string]*kept{}, names: map[string]*kept{}, readers: map[*reader]bool{},
	}
	for i := range n {
		if _, err := e.add(fmt.Sprintf("c-%d", i+1)); err != nil {
			return nil, errors.Join(err, listener.Close(), os.RemoveAll(dir))
		}
	}
	e.server = &http.Server{Handler: e.handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { e.served <- e.server.Serve(listener) }()
	return e, nil
}

// Host is what DOCKER_HOST is to be set to.
func (e *Engine) Host() string { return "unix://" + filepath.Join(e.dir, "docker.sock") }

// Close ends the engine, in the middle of whatever it is asked.
func (e *Engine) Close() error {
	close(e.closed)
	err := e.server.Close()
	if served := <-e.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// Running tells the containers that run, in the order in which they were started.
func (e *Engine) Running() []Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var running []Container
	for _, k := range e.ordered() {
		if k.running {
			running = append(running, k.Container)
		}
	}
	return running
}

// Add creates and starts a container.
func (e *Engine) Add(name string) (Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, err := e.add(name)
	if err != nil {
		return Container{}, err
	}
	e.tell(containerEvent("create", k, nil))
	e.tell(networkEvent("connect", k))
	e.tell(containerEvent("start", k, nil))
	return k.Container, nil
}

// Kill lets a container die.
func (e *Engine) Kill(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, err := e.find(id)
	if err != nil {
		return err
	}
	if !k.running {
		return fmt.Errorf("container %s is not running", k.Name)
	}
	return e.kill(k)
}

// Remove removes a container; one that runs dies first.
func (e *Engine) Remove(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, err := e.find(id)
	if err == nil && k.running {
		err = e.kill(k)
	}
	if err != nil {
		return err
	}
	delete(e.containers, k.ID)
	delete(e.names, k.Name)
	e.tell(containerEvent("destroy", k, nil))
	return nil
}

func (e *Engine) add(name string) (*kept, error) {
	if e.names[name] != nil {
		return nil, fmt.Errorf("container name %s is in use", name)
	}
	e.made++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, e.made))
	k := &kept{Container: Container{ID: hex.EncodeToString(sum[:]), Name: name}, number: e.made, running: true}
	if err := k.encode(time.Now()); err != nil {
		return nil, err
	}
	e.containers[k.ID], e.names[name] = k, k
	return k, nil
}

func (e *Engine) kill(k *kept) error {
	k.running = false
	if err := k.encode(time.Now()); err != nil {
		return err
	}
	e.tell(containerEvent("kill", k, map[string]string{"signal": "9"}))
	e.tell(containerEvent("die", k, map[string]string{"exitCode": "137"}))
	e.tell(networkEvent("disconnect", k))
	return nil
}

// find looks for a container by its id or its name.
func (e *Engine) find(nameOrID string) (*kept, error) {
	if k := e.containers[nameOrID]; k != nil {
		return k, nil
	}
	if k := e.names[nameOrID]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("no such container: %s", nameOrID)
}

func (e *Engine) ordered() []*kept {
	all := make([]*kept, 0, len(e.containers))
	for _, k := range e.containers {
		all = append(all, k)
	}
	slices.SortFunc(all, func(x, y *kept) int { return x.number - y.number })
	return all
}
