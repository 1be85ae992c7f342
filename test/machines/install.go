package machines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// versions of the application hello are on every machine as images.
func versions() []string { return []string{"v1", "v2"} }

// Deb installs or upgrades rollcall from a .deb of the host.
func (m *Machine) Deb(ctx context.Context, deb string) error {
	if _, err := docker(ctx, "cp", deb, m.container+":/var/tmp/rollcall.deb"); err != nil {
		return err
	}
	_, err := m.Run(ctx, "dpkg", "--install", "/var/tmp/rollcall.deb")
	return err
}

// Tree puts what `make install DESTDIR=…` has made of a .deb on the machine, by way of a
// directory of the host for what is made meanwhile.
func (m *Machine) Tree(ctx context.Context, dir, deb string) error {
	tree, err := installation(ctx, dir, deb)
	if err != nil {
		return err
	}
	if _, err := docker(ctx, "cp", tree, m.container+":/var/tmp/rollcall.tar"); err != nil {
		return err
	}
	// tar puts new files in the place of old ones: a program that runs cannot be written to.
	_, err = m.Run(ctx, "tar", "-C", "/", "--no-overwrite-dir", "-xf", "/var/tmp/rollcall.tar")
	return err
}

// engine starts the machine's Docker engine and gives it the application.
func (m *Machine) engine(ctx context.Context, application []byte) error {
	// The host's engine may itself lie on an overlay, on which there can be no second one.
	// The network is the same on every machine, for nobody outside sees it.
	if err := m.Write(ctx, "/etc/docker/daemon.json", "644", `{"bip": "10.240.0.1/24", "storage-driver": "vfs"}`+"\n"); err != nil {
		return err
	}
	if _, err := m.Systemctl(ctx, "enable", "--quiet", "--now", "docker.service"); err != nil {
		return err
	}
	for _, version := range versions() {
		_, err := command(ctx, bytes.NewReader(application), "docker", "exec", "-i", m.container, "docker", "import",
			"-c", `ENTRYPOINT ["/hello"]`, "-c", "EXPOSE 8080", "-c", "ENV VERSION="+version, "-", "hello:"+version)
		if err != nil {
			return err
		}
	}
	return nil
}

// examples makes units of those that come with rollcall as examples, as their users do: with
// an image of their own, which /etc/default/web names, and here a name to answer with. The machine's
// own announcer leaves them to their sidekicks.
const examples = `set -e
cd /usr/share/doc/rollcall/examples 2>/dev/null || cd /usr/local/share/doc/rollcall/examples
cp -r web@.service announce@.service etcd.service nginx.service.d apache2.service.d /etc/systemd/system/
sed -i 's/ hello$/ --hostname %H-%p-%i ${IMAGE}/' /etc/systemd/system/web@.service
grep -q IMAGE /etc/systemd/system/web@.service
`

// configure writes what tells the machines apart, and where etcd is.
func (c *Cluster) configure(ctx context.Context, m *Machine) error {
	at := func(port int) string { return fmt.Sprintf("http://%s:%d", m.Address, port) }
	var errs []error
	write := func(path string, lines ...string) {
		errs = append(errs, m.Write(ctx, path, "644", strings.Join(lines, "\n")+"\n"))
	}
	write("/etc/default/etcd",
		"ETCD_NAME="+m.Name,
		"ETCD_INITIAL_CLUSTER="+c.urls(2380, "="),
		"ETCD_INITIAL_ADVERTISE_PEER_URLS="+at(2380),
		"ETCD_LISTEN_PEER_URLS="+at(2380),
		"ETCD_ADVERTISE_CLIENT_URLS="+at(2379),
		"ETCD_LISTEN_CLIENT_URLS="+at(2379)+",http://127.0.0.1:2379")
	settings, err := m.Run(ctx, "cat", "/etc/default/rollcall")
	errs = append(errs, err)
	write("/etc/default/rollcall", settings, "ETCDCTL_ENDPOINTS="+c.Endpoints(), "ANNOUNCE_ADDRESS="+m.Address.String())
	write("/etc/default/web", "IMAGE=hello:v1")
	_, err = m.Run(ctx, "sh", "-c", examples)
	return errors.Join(append(errs, err)...)
}
