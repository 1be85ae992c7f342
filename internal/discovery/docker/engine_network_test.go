package docker

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
)

func TestEngineSharedNetwork(t *testing.T) {
	t.Parallel()
	for _, filtered := range []bool{true, false} {
		t.Run(fmt.Sprint("filtered ", filtered), func(t *testing.T) {
			t.Parallel()
			testSharedNetwork(t, filtered)
		})
	}
}

func testSharedNetwork(t *testing.T, filtered bool) {
	e := realEngine(t)
	ctx := t.Context()
	name, cfg := fmt.Sprint(run, "-side-", filtered), Config{}
	if filtered {
		cfg.Name = name
	}
	e.network(name + "-net") // before the containers, to be removed after them
	state := t.TempDir()
	owner := e.create(name+"-owner", container.Config{Healthcheck: &container.HealthConfig{
		Test: []string{"CMD", "/sleeper", "healthy"}, Interval: 500 * time.Millisecond, Timeout: patience, Retries: 1,
	}}, container.HostConfig{
		Binds: []string{state + ":/state"}, PortBindings: nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1"}}},
	})
	e.start(owner)
	id := e.create(name, container.Config{}, container.HostConfig{NetworkMode: container.NetworkMode("container:" + name + "-owner")})
	e.start(id)

	r := watch(t, cfg, client.FromEnv)
	var side Container
	shares := func(what string, ok func(x *Container) bool) {
		t.Helper()
		r.until(t, what, func(v *view) bool {
			side = v.containers[id]
			return side.Shares != nil && ok(side.Shares)
		})
	}
	running := func(x *Container) bool { return x.State == "running" }
	shares("the owner", running)
	x := *side.Shares
	if side.NetworkMode != "container:"+owner || x.ID != owner || x.HealthPeriod != patience+500*time.Millisecond || x.Started.After(side.Started) {
		t.Errorf("listed: %+v, sharing %+v", side, x)
	}
	if len(x.Ports) != 2 || len(x.Ports[1].Bindings) != 1 || len(x.Networks) != 1 || !x.Networks[0].IPv4.IsValid() {
		t.Errorf("the owner: %+v, want its ports and networks", x)
	}

	e.must(e.cli.ContainerPause(ctx, owner))
	shares("pause", func(x *Container) bool { return x.State == "paused" })
	e.must(e.cli.ContainerUnpause(ctx, owner))
	shares("unpause", running)
	e.must(e.cli.NetworkConnect(ctx, name+"-net", owner, nil))
	shares("connect", func(x *Container) bool { return len(x.Networks) == 2 && x.Networks[1].IPv4.IsValid() })
	e.must(e.cli.NetworkDisconnect(ctx, name+"-net", owner, true))
	shares("disconnect", func(x *Container) bool { return len(x.Networks) == 1 })
	e.must(e.cli.ContainerRename(ctx, owner, name+"-renamed"))
	shares("rename", func(x *Container) bool { return x.Name == name+"-renamed" })
	shares("healthy", func(x *Container) bool { return x.Health == "healthy" })
	e.must(os.WriteFile(filepath.Join(state, "sick"), nil, 0o644))
	shares("unhealthy", func(x *Container) bool { return x.Health == "unhealthy" })

	// The owner comes back with a new network, which its sharer sees after a restart only.
	e.must(e.cli.ContainerRestart(ctx, owner, container.StopOptions{}))
	shares("restart: its end", func(x *Container) bool { return x.State == "exited" })
	if side.State != "running" {
		t.Errorf("the sharer is %s, want it left running", side.State)
	}
	shares("restart: its start", func(x *Container) bool { return running(x) && x.Started.After(side.Started) })
	e.must(e.cli.ContainerRestart(ctx, id, container.StopOptions{}))
	shares("restart of the sharer", func(x *Container) bool { return running(x) && side.Started.After(x.Started) })

	e.must(e.cli.ContainerKill(ctx, owner, "KILL"))
	shares("its end", func(x *Container) bool { return x.State == "exited" })
	if c, err := r.Inspect(ctx, name); err != nil || c.Shares == nil || c.Shares.State != "exited" {
		t.Errorf("Inspect: %+v, %v; want the owner, exited", c.Shares, err)
	}
	e.must(e.cli.ContainerRemove(ctx, owner, container.RemoveOptions{}))
	r.until(t, "removed", func(v *view) bool { c, ok := v.containers[id]; return ok && c.Shares == nil })
	if c, err := r.Inspect(ctx, name); err != nil || c.Shares != nil || c.NetworkMode != "container:"+owner {
		t.Errorf("Inspect: %+v, %v; want it to share nothing", c, err)
	}
	if r.view.lists != 1 {
		t.Errorf("%d lists, want all from events but the first:\n%s", r.view.lists, r.log)
	}
}

// publishing exposes what it publishes, as the docker command does and the engine needs it.
func publishing(ports nat.PortMap) (container.Config, container.HostConfig) {
	exposed := nat.PortSet{}
	for p := range ports {
		exposed[p] = struct{}{}
	}
	return container.Config{ExposedPorts: exposed}, container.HostConfig{PortBindings: ports}
}

func TestEnginePublishes(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	cfg, host := publishing(nat.PortMap{
		"53/tcp": {{HostIP: "127.0.0.1"}}, "53/udp": {{HostIP: "127.0.0.1"}},
		"80/tcp":   {{HostIP: "127.0.0.1", HostPort: "30000-32000"}},
		"7000/tcp": {{HostIP: "127.0.0.1"}}, "7001/tcp": {{HostIP: "127.0.0.1"}},
		"7002/tcp": {{}},
	})
	id := e.create(run+"-published", cfg, host)
	e.start(id)
	r := watch(t, Config{Name: run + "-published"}, client.FromEnv)
	r.until(t, "the container", func(v *view) bool { return only(v) != nil })
	var got []string
	in, err := e.cli.ContainerInspect(t.Context(), id)
	e.must(err)
	for _, p := range only(&r.view).Ports {
		own := in.NetworkSettings.Ports[nat.Port(fmt.Sprintf("%d/%s", p.Number, p.Proto))]
		if len(p.Bindings) == 0 || len(p.Bindings) != len(own) {
			t.Errorf("port %d/%s: %+v, want %+v", p.Number, p.Proto, p.Bindings, own)
			continue
		}
		b := p.Bindings[0] // whether it is published for IPv6 as well is up to this machine
		got = append(got, fmt.Sprintf("%d/%s on %s", p.Number, p.Proto, b.IP))
		if !slices.Contains(own, nat.PortBinding{HostIP: b.IP.String(), HostPort: fmt.Sprint(b.Port)}) {
			t.Errorf("port %d/%s: %+v, want %+v", p.Number, p.Proto, p.Bindings, own)
		}
		if p.Number == 80 && (b.Port < 30000 || b.Port > 32000) {
			t.Errorf("port 80: %+v, want one of the range", b)
		}
	}
	want := []string{
		"53/tcp on 127.0.0.1", "53/udp on 127.0.0.1", "80/tcp on 127.0.0.1",
		"7000/tcp on 127.0.0.1", "7001/tcp on 127.0.0.1", "7002/tcp on 0.0.0.0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("ports %q, want %q", got, want)
	}
}

func TestEngineIPv6(t *testing.T) {
	t.Parallel()
	e := realEngine(t)
	var id [7]byte // of a network of this test's own, as RFC 4193 wants it
	_, _ = rand.Read(id[:])
	subnet := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, id[0], id[1], id[2], id[3], id[4], id[5], id[6]}), 64)
	name, on := run+"-ipv6", true
	err := e.tryNetwork(name, network.CreateOptions{
		EnableIPv6: &on, IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet.String()}}},
	})
	if err != nil {
		lacks(t, "this engine makes no IPv6 network: %v", err)
	}
	cfg, host := publishing(nat.PortMap{"80/tcp": {{HostIP: "::"}}, "81/tcp": {{HostIP: "::1"}}})
	host.NetworkMode = container.NetworkMode(name)
	c := e.create(name, cfg, host)
	if err := e.cli.ContainerStart(t.Context(), c, container.StartOptions{}); err != nil {
		lacks(t, "this engine starts nothing with IPv6: %v", err)
	}
	r := watch(t, Config{Name: name}, client.FromEnv)
	r.until(t, "the container", func(v *view) bool { return only(v) != nil })
	got := only(&r.view)
	if n := got.Networks; len(n) != 1 || n[0].Name != name || !subnet.Contains(n[0].IPv6) || !n[0].IPv4.Is4() {
		t.Errorf("networks %+v, want one with an address in %s", n, subnet)
	}
	var bound []string
	for _, p := range got.Ports {
		for _, b := range p.Bindings {
			bound = append(bound, fmt.Sprintf("%d on %s", p.Number, b.IP))
		}
	}
	if want := []string{"80 on ::", "81 on ::1"}; !slices.Equal(bound, want) {
		t.Errorf("published: %q, want %q", bound, want)
	}
}
