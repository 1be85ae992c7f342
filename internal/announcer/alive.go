package announcer

import "errors"

// A Standing is how an instance of a living container is announced.
type Standing struct {
	Weight int
	Absent error // why it is not announced; nil if it is
}

// Wanted says whether balancers are to route to it as soon as it is well.
func (s Standing) Wanted() bool { return s.Weight > 0 && !errors.Is(s.Absent, errDrained) }

// Alive gives the instances that this machine's living containers are or would be, were
// they well and nobody kept them out, by id. A container that is not announced any more may
// still be answering requests that began when it was.
func (a *Announcer) Alive() map[string]Standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	alive := map[string]Standing{}
	for _, e := range a.entries {
		well := e.container
		if well.State != "running" && well.State != "paused" {
			continue
		}
		well.State, well.Health = "running", ""
		for _, d := range a.cfg.Rules.Decide(&well) {
			if d.Err != nil {
				continue
			}
			// Of several that would be one instance, one that is suffices.
			if before, ok := alive[d.Record.ID()]; !ok || before.Absent != nil {
				alive[d.Record.ID()] = Standing{Weight: d.Instance.Weight, Absent: a.absence(e, d)}
			}
		}
	}
	return alive
}

// absence gives the reason why a port of a container is not announced; nil if it is. To be
// called with the mutex held.
func (a *Announcer) absence(e *entry, well Decision) error {
	if a.drains[well.Record.ID()] {
		return errDrained
	}
	for n, d := range e.decisions {
		if d.Port == well.Port || d.Port == "" {
			return a.refusal(e, n)
		}
	}
	return nil
}
