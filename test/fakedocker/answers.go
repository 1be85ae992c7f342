package fakedocker

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

const (
	imageName = "bench:1"
	imageID   = "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270"
	networkID = "7ea29fc1412292a2d7bba362f9253545fecdfa8ce9a6e37dd10ba8bee7129812"
	port      = "80/tcp"
)

func (k *kept) labels() map[string]string {
	return map[string]string{"rollcall.service": "bench", "rollcall.instance": k.Name}
}

// hostPort is where the container's port is published; beyond 40,000 containers two
// have the same, which no reader can know to be impossible.
func (k *kept) hostPort() int { return 20000 + k.number%40000 }

func (k *kept) address() string {
	return fmt.Sprintf("172.%d.%d.%d", 17+k.number>>16, k.number>>8&0xff, k.number&0xff)
}

// encode writes down what is answered about a container from now on. The answers have
// all the fields that Docker's have, because reading them is part of what is measured.
func (k *kept) encode(now time.Time) error {
	networks := map[string]*network.EndpointSettings{"bridge": {
		NetworkID: networkID, EndpointID: k.ID, Gateway: "172.17.0.1",
		IPAddress: k.address(), IPPrefixLen: 16, MacAddress: "02:42:ac:11:00:02",
	}}
	published := nat.PortMap{}
	state := &container.State{Status: container.StateExited, ExitCode: 137, FinishedAt: stamp(now)}
	if k.running {
		p := strconv.Itoa(k.hostPort())
		published[port] = []nat.PortBinding{{HostIP: "0.0.0.0", HostPort: p}, {HostIP: "::", HostPort: p}}
		state = &container.State{Status: container.StateRunning, Running: true, Pid: 1000 + k.number, StartedAt: stamp(now)}
	}
	settings := &container.NetworkSettings{Networks: networks}
	settings.Ports = published
	var err error
	k.inspect, err = json.Marshal(container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{
			ID: k.ID, Created: stamp(now), Path: "/bench", Args: []string{}, State: state, Image: imageID,
			LogPath: "/var/lib/docker/containers/" + k.ID + "/" + k.ID + "-json.log", Name: "/" + k.Name,
			Driver: "overlay2", Platform: "linux",
			HostConfig: &container.HostConfig{
				NetworkMode: "default", PortBindings: nat.PortMap{port: {{}}}, IpcMode: "private", Runtime: "runc",
				MaskedPaths:   []string{"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"},
				ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			},
		},
		Mounts: []container.MountPoint{},
		Config: &container.Config{
			Hostname: k.ID[:12], Image: imageName, Labels: k.labels(), ExposedPorts: nat.PortSet{port: {}},
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, Entrypoint: []string{"/bench"},
		},
		NetworkSettings: settings,
	})
	if err != nil {
		return err
	}
	summary := container.Summary{
		ID: k.ID, Names: []string{"/" + k.Name}, Image: imageName, ImageID: imageID, Command: "/bench", Created: now.Unix(),
		Labels: k.labels(), State: state.Status, Status: "Up 2 hours",
		NetworkSettings: &container.NetworkSettingsSummary{Networks: networks},
	}
	for _, ip := range []string{"0.0.0.0", "::"} {
		summary.Ports = append(summary.Ports, container.Port{IP: ip, PrivatePort: 80, PublicPort: uint16(k.hostPort()), Type: "tcp"})
	}
	k.summary, err = json.Marshal(summary)
	return err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
