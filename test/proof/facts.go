package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"rollcall/test/machines"
)

// facts are where and of what the proof was made.
type facts struct {
	Commit   string
	Cores    int
	CPU      string
	Memory   string
	Kernel   string
	Rollcall string
	Packages []string // name and version
}

// look finds them out.
func look(ctx context.Context, cluster *machines.Cluster) (facts, error) {
	f := facts{Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"), Commit: commit(ctx)}
	if kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		f.Memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return f, err
	}
	f.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(kernel)), "-")
	m := cluster.Machines[0]
	if f.Rollcall, err = m.Run(ctx, "announce", "--version"); err != nil {
		return f, err
	}
	out, err := m.Run(ctx, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n",
		"nginx-light", "apache2", "haproxy", "etcd-server", "docker.io", "systemd")
	f.Packages = strings.Split(strings.TrimSpace(out), "\n")
	return f, err
}

// field gives what the first line of a /proc file says behind a name; nothing if it is not there.
func field(path, name string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// commit names what the sources are; "unknown" where they are not git's.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty= with changes", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// deeds are what a proxy's render has done to it, ever since it began.
type deeds struct {
	reloads int // of the server
	members int // that came or went without one
}

func (d *deeds) subtract(before deeds) {
	d.reloads -= before.reloads
	d.members -= before.members
}

// all asks the render of every proxy.
func all(ctx context.Context, cluster *machines.Cluster) ([]deeds, error) {
	var list []deeds
	for _, kind := range machines.Proxies() {
		d, err := done(ctx, cluster.Proxy(kind))
		if err != nil {
			return nil, fmt.Errorf("ask the render of %s: %w", kind, err)
		}
		list = append(list, d)
	}
	return list, nil
}

func done(ctx context.Context, m *machines.Machine) (deeds, error) {
	out, err := m.Run(ctx, "curl", "--silent", "--show-error", "--fail", "http://127.0.0.1:9402/metrics")
	if err != nil {
		return deeds{}, err
	}
	var d deeds
	for _, metric := range []struct {
		name string
		into *int
	}{{"rollcall_render_reloads_total", &d.reloads}, {"rollcall_render_members_changed_total", &d.members}} {
		_, rest, ok := strings.Cut(out, "\n"+metric.name+" ")
		if !ok {
			return d, fmt.Errorf("there is no metric %s", metric.name)
		}
		value, _, _ := strings.Cut(rest, "\n")
		if *metric.into, err = strconv.Atoi(value); err != nil {
			return d, fmt.Errorf("metric %s: %w", metric.name, err)
		}
	}
	return d, nil
}

// confirmations counts the withdrawals that sidekicks have told in their journals to be confirmed
// by as many renderers as there are proxies.
func confirmations(ctx context.Context, cluster *machines.Cluster) (n int, err error) {
	const count = `journalctl --sync
		journalctl --quiet --boot --output=cat --unit='announce@*' | grep --count "msg=withdrawn .*confirmed_by=$1 " || true`
	for _, m := range cluster.Machines {
		out, err := m.Run(ctx, "sh", "-c", count, "sh", strconv.Itoa(len(machines.Proxies())))
		if err != nil {
			return 0, err
		}
		here, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			return 0, fmt.Errorf("count withdrawals on %s: %w", m.Name, err)
		}
		n += here
	}
	return n, nil
}
