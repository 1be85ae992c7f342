package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// service is what the demo's containers call themselves.
const service = "hello"

// docker runs the docker command as a person would and gives what it printed.
func docker(ctx context.Context, args ...string) (string, error) {
	return command(ctx, "docker", args...)
}

// command runs a program to its end; the error holds its own words.
func command(ctx context.Context, program string, args ...string) (string, error) {
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		said := strings.TrimSpace(errs.String() + out.String())
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(out.String()), nil
}

// A container is one that the demo has started.
type container struct {
	name     string // as docker knows it
	short    string // as the demo tells of it: without what makes it unique on this machine
	id       string
	instance string // as announce calls it, once it does
	version  string
}

// image and label carry the tag, so that they are nobody else's on this machine.
func (d *demo) image(version string) string { return "rollcall-hello:" + version + "-" + d.tag }
func (d *demo) label() string               { return "rollcall.demo=" + d.tag }

// buildImages makes the demo image in both versions, from nothing but hello.
func (d *demo) buildImages(ctx context.Context) error {
	place := filepath.Join(d.dir, "image")
	if err := os.Mkdir(place, 0o755); err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	if err := copyFile(filepath.Join(place, "hello"), filepath.Join(d.bin, "hello")); err != nil {
		return fmt.Errorf("build image: %w", err)
	}
	var builds errgroup.Group
	for _, version := range []string{"v1", "v2"} {
		d.images = append(d.images, d.image(version))
		builds.Go(func() error {
			_, err := d.create(ctx, "build", "--quiet", "--tag", d.image(version), "--label", d.label(),
				"--build-arg", "VERSION="+version, "--file", d.dockerfile, place)
			return err
		})
	}
	return builds.Wait()
}

// startContainer runs the next one, with all its ports published at random.
func (d *demo) startContainer(ctx context.Context, version string) (*container, error) {
	d.started++
	short := fmt.Sprintf("web-%d", d.started)
	c := &container{short: short, name: short + "-" + d.tag, version: version}
	var err error
	c.id, err = d.create(ctx, "run", "--detach", "--publish-all", "--name", c.name, "--hostname", c.name,
		"--label", d.label(), d.image(version))
	return c, err
}

// create runs a docker command that makes something. Ctrl-C lets it finish: the engine
// would go on without the command, and what it made appear after everything had been removed.
func (d *demo) create(ctx context.Context, args ...string) (string, error) {
	bounded, cancel := context.WithTimeout(d.patience, time.Minute)
	defer cancel()
	out, err := docker(bounded, args...)
	if bounded.Err() != nil {
		d.late.Store(true)
	}
	return out, errors.Join(err, ctx.Err())
}

// remove removes every container and every image of this run, whatever has become of them.
func (d *demo) remove(ctx context.Context) error {
	err := errors.Join(d.removeContainers(ctx), d.removeImages(ctx))
	if !d.late.Load() {
		return err
	}
	return errors.Join(err, pause(ctx, 2*time.Second), d.removeContainers(ctx), d.removeImages(ctx))
}

func (d *demo) removeContainers(ctx context.Context) error {
	ids, err := docker(ctx, "ps", "--all", "--quiet", "--filter", "label="+d.label())
	if err != nil || ids == "" {
		return err
	}
	_, err = docker(ctx, append([]string{"rm", "--force", "--volumes"}, strings.Fields(ids)...)...)
	return err
}

func (d *demo) removeImages(ctx context.Context) error {
	for _, image := range d.images {
		id, err := docker(ctx, "images", "--quiet", image)
		if err != nil {
			return err
		}
		if id == "" {
			continue
		}
		if _, err := docker(ctx, "rmi", "--force", image); err != nil {
			return err
		}
	}
	return nil
}

// machineAddress finds an address under which published ports are reached and
// nobody outside this machine: that of Docker's own bridge.
func machineAddress(ctx context.Context) (string, error) {
	out, err := docker(ctx, "network", "inspect", "bridge", "--format",
		`{{range .IPAM.Config}}{{.Gateway}} {{end}}{{index .Options "com.docker.network.bridge.name"}}`)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out)
	for _, f := range fields {
		if ip := net.ParseIP(f); ip != nil && ip.To4() != nil && isLocal(ip) {
			return ip.String(), nil
		}
	}
	// An engine that has chosen the subnet by itself does not tell the gateway.
	if len(fields) > 0 {
		if addr, err := interfaceAddress(fields[len(fields)-1]); err == nil {
			return addr, nil
		}
	}
	// The bridge is inside a virtual machine or another network namespace; its ports
	// are published on this machine's addresses all the same. Nothing is sent here.
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp4", "192.0.2.1:9")
	if err != nil {
		return "", fmt.Errorf("find this machine's address: %w", err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).IP.String(), nil
}

func isLocal(ip net.IP) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}

func interfaceAddress(name string) (string, error) {
	in, err := net.InterfaceByName(name)
	if err != nil {
		return "", err
	}
	addrs, err := in.Addrs()
	if err != nil {
		return "", err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return "", fmt.Errorf("interface %s has no IPv4 address", name)
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
