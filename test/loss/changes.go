package loss

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"rollcall/test/ports"
)

// A member is an instance that is a process of this machine, with a record written by hand.
type member struct {
	name   string
	port   int
	server *process
}

// startMember returns when the server listens.
func (b *bed) startMember(ctx context.Context, name string) (*member, error) {
	address := ports.Address(b.tb)
	_, port, _ := strings.Cut(address, ":")
	m := &member{name: name}
	var err error
	if m.port, err = strconv.Atoi(port); err != nil {
		return nil, err
	}
	if m.server, err = launch(b.tb, []string{"LISTEN=" + address, "NAME=" + name}, b.programs.Hello); err != nil {
		return nil, err
	}
	return m, poll(ctx, name+" listens", func() error { return listens(address) })
}

// changeMembers changes them one after the other, at a steady pace, while what earlier
// changes have removed is let go of. A process is killed only when it may end.
func (b *bed) changeMembers(ctx context.Context, p Plan) error {
	group, ctx := errgroup.WithContext(ctx)
	for i := range p.Members {
		var leaving *process
		var revision int64
		var err error
		switch i % 4 {
		case 0:
			revision, err = b.join(ctx)
		case 1:
			m := b.members[len(b.members)-1]
			revision, err = b.balancer.store().put(ctx, service, m.name, m.port, 30)
		case 2:
			revision, leaving, err = b.move(ctx, b.members[1])
		case 3:
			leaving = b.members[0].server
			revision, err = b.balancer.store().remove(ctx, service, b.members[0].name)
			b.members = b.members[1:]
		}
		if err != nil {
			return err
		}
		group.Go(func() error {
			if leaving == nil {
				return b.balancer.applied(ctx, revision)
			}
			if err := b.balancer.drained(ctx, revision); err != nil {
				return err
			}
			leaving.kill()
			return nil
		})
		if err := pause(ctx, p.MemberPace); err != nil {
			break
		}
	}
	return group.Wait()
}

// join adds a member.
func (b *bed) join(ctx context.Context) (revision int64, err error) {
	b.joined++
	m, err := b.startMember(ctx, fmt.Sprintf("m-%d", b.joined))
	if err != nil {
		return 0, err
	}
	b.members = append(b.members, m)
	return b.balancer.store().put(ctx, service, m.name, m.port, 100)
}

// move gives a member another address, and the process at the old one.
func (b *bed) move(ctx context.Context, m *member) (revision int64, old *process, err error) {
	to, err := b.startMember(ctx, m.name)
	if err != nil {
		return 0, nil, err
	}
	old = m.server
	m.port, m.server = to.port, to.server
	revision, err = b.balancer.store().put(ctx, service, m.name, m.port, 100)
	return revision, old, err
}

// changeStructure has services come and go and the operator's own fragment change, in turn.
func (b *bed) changeStructure(ctx context.Context, p Plan) error {
	const another = "another"
	for i := range p.Structure {
		next := time.Now().Add(p.StructurePace)
		var revision int64
		var err error
		switch i % 4 {
		case 0:
			revision, err = b.balancer.store().put(ctx, another, "one", b.other.port, 100)
		case 2:
			revision, err = b.balancer.store().remove(ctx, another, "one")
		default:
			err = b.balancer.dropIn(ctx, fmt.Sprintf("# change %d\n", i))
		}
		if err == nil {
			err = b.balancer.applied(ctx, revision)
		}
		if err == nil {
			err = pause(ctx, time.Until(next))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// answers sends one request to the service.
func answers(ctx context.Context, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, http.NoBody)
	if err != nil {
		return err
	}
	req.Host, req.Close = service, true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", res.Status)
	}
	return nil
}
