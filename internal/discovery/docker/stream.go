package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// maxBehind is how many events may wait while a change is being dealt with, and how
// many containers may wait to be inspected. The engine itself silently drops events for a
// reader that does not keep up, so they are read at once, and more is a reason to list again.
const maxBehind = 1024

// heard are the events that matter. The engine selects them, because a HEALTHCHECK
// alone makes three others each time it runs. health_status stands for all its variants.
func heard() filters.Args {
	f := filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("type", string(events.NetworkEventType)),
	)
	for _, a := range []events.Action{
		events.ActionStart, events.ActionDie, events.ActionDestroy, events.ActionPause, events.ActionUnPause,
		events.ActionHealthStatus, events.ActionRename, events.ActionUpdate, events.ActionConnect, events.ActionDisconnect,
		podmanDied, podmanRemove, podmanExecDied,
	} {
		f.Add("event", string(a))
	}
	return f
}

// A stream is one subscription to the engine's events.
type stream struct {
	events chan events.Message // closed at the end
	ended  chan struct{}       // closed at the end too, when events may still hold some
	err    error               // why it ended; to be read after events is closed
	cancel context.CancelFunc
}

// subscribe opens the stream. When it returns, the engine keeps every event from the
// moment of the call on for it.
func (w *Watcher) subscribe(ctx context.Context, cli *client.Client) (*stream, error) {
	opts := events.ListOptions{Filters: heard(), Since: w.engineTime(ctx, cli)}
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{events: make(chan events.Message, maxBehind), ended: make(chan struct{}), cancel: cancel}

	// An open stream may be silent for days, one that does not open may not.
	tooLong := time.AfterFunc(w.timeout, cancel)
	messages, errs := cli.Events(ctx, opts)
	if !tooLong.Stop() {
		finish(errs)
		return nil, fmt.Errorf("subscribe to docker events: no answer in %v", w.timeout)
	}
	go s.pump(messages, errs)
	return s, nil
}

// engineTime reads the engine's clock. It answers a subscription before it has made it,
// so the events in between are only there for who asks for them: by the time since when.
// It is "" when a proxy before the engine does not let the question through; what may be
// missed then waits for the next list.
func (w *Watcher) engineTime(ctx context.Context, cli *client.Client) string {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	info, err := cli.Info(ctx)
	if err != nil {
		return ""
	}
	if _, err := time.Parse(time.RFC3339Nano, info.SystemTime); err != nil {
		return ""
	}
	return info.SystemTime
}

// pump reads events as fast as they come.
func (s *stream) pump(messages <-chan events.Message, errs <-chan error) {
	defer close(s.events)
	defer close(s.ended)
	defer finish(errs)
	for {
		select {
		case m := <-messages:
			select {
			case s.events <- m:
			default:
				s.err = fmt.Errorf("more than %d docker events behind", maxBehind)
				s.cancel()
				return
			}
		case err := <-errs:
			s.err = fmt.Errorf("docker's event stream ended: %w", err)
			return
		}
	}
}

// over says whether the stream has ended, though events may be left in it.
func (s *stream) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// close ends the subscription and waits until nothing of it is left.
func (s *stream) close() {
	s.cancel()
	<-s.ended
}

// finish returns when the client is done with a subscription.
func finish(errs <-chan error) {
	for range errs {
	}
}
