package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"rollcall/test/ports"
)

// explained is what the tests read of `announce explain --output json`.
type explained struct {
	Reason string
	Ports  []struct {
		Port, Reason, Check, Etcd string
		Considered                []struct{ Endpoint, From, Rejected string }
		Record                    map[string]string
	}
	Dropped   []struct{ Name string }
	Announced int
}

// explain asks about a container, as the machine's announcer sees it or, with --container,
// as its sidekick does, and checks the exit code against the answer.
func explain(t *testing.T, args ...string) explained {
	t.Helper()
	cmd := exec.Command(testbed.announce, append([]string{"explain", "--address", testbed.address, "-o", "json"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	var e explained
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatalf("%v (exit code %d)\n%s%s", err, code, out, stderr.String())
	}
	if want := map[bool]int{true: 0, false: 1}[e.Announced > 0]; code != want {
		t.Errorf("exit code %d with %d ports announced", code, e.Announced)
	}
	return e
}

// endpoints gives "port endpoint" of what would be announced.
func (e explained) endpoints() []string {
	var chosen []string
	for _, p := range e.Ports {
		for _, c := range p.Considered {
			if p.Reason == "" && c.Rejected == "" {
				chosen = append(chosen, p.Port+" "+c.Endpoint)
			}
		}
	}
	return chosen
}

func (e explained) want(t *testing.T, endpoints ...string) {
	t.Helper()
	if got := e.endpoints(); !slices.Equal(got, endpoints) {
		t.Errorf("endpoints %q, want %q in %+v", got, endpoints, e)
	}
}

// refused checks that nothing is announced, for a reason that says all of the words.
func (e explained) refused(t *testing.T, words ...string) {
	t.Helper()
	reason := e.Reason
	for _, p := range e.Ports {
		reason += p.Reason
	}
	for _, w := range words {
		if e.Announced != 0 || !strings.Contains(reason, w) {
			t.Errorf("%d announced, reason %q, want %q in it", e.Announced, reason, w)
		}
	}
}

func newNetwork(t *testing.T, args ...string) string {
	t.Helper()
	name := unique("net")
	docker(t, slices.Concat([]string{"network", "create"}, args, []string{name})...)
	t.Cleanup(func() { _, _ = command("docker", "network", "rm", name) })
	return name
}

func addressOn(t *testing.T, name, network string) string {
	t.Helper()
	return docker(t, "inspect", "--format", `{{(index .NetworkSettings.Networks "`+network+`").IPAddress}}`, name)
}

func TestExplainSeveralNetworks(t *testing.T) {
	t.Parallel()
	front, back := newNetwork(t), newNetwork(t)
	web := unique("web")
	runContainer(t, web, "v1", "--network", front)
	docker(t, "network", "connect", back, web)
	explain(t, web).refused(t, "container publishes no port")
	mistyped := unique("mistyped")
	runContainer(t, mistyped, "v1", "--label", "rollcall.prot=8080")
	if e := explain(t, mistyped); len(e.Dropped) != 1 || e.Dropped[0].Name != `"rollcall.prot"` {
		t.Errorf("what is misspelt is not told: %+v", e)
	}
	explain(t, web, "--internal").refused(t, front, back, "choose one with --network")
	explain(t, web, "--network", back).want(t, "8080/tcp "+addressOn(t, web, back)+":8080")
	explain(t, web, "--network", "elsewhere").refused(t, `no address on network "elsewhere"`, front, back)
}

func TestExplainLoopback(t *testing.T) {
	t.Parallel()
	web := unique("web")
	runContainer(t, web, "v1", "-p", "127.0.0.1::8080")
	explain(t, web).refused(t, "published only on 127.0.0.1:", "is loopback")
	both := unique("both")
	runContainer(t, both, "v1", "-p", "127.0.0.1::8080", "-p", testbed.address+"::8080")
	e := explain(t, both)
	if len(e.Ports) != 1 || len(e.Ports[0].Considered) != 2 {
		t.Fatalf("considered %+v", e.Ports)
	}
	for _, c := range e.Ports[0].Considered {
		if loopback := strings.HasPrefix(c.Endpoint, "127."); loopback == (c.Rejected == "") {
			t.Errorf("%+v", c)
		}
	}
}

func TestExplainHostNetwork(t *testing.T) {
	t.Parallel()
	port := strings.TrimPrefix(local(ports.Free(t)), "127.0.0.1:")
	web := unique("web")
	runContainer(t, web, "v1", "--network", "host", "-e", "LISTEN="+testbed.address+":"+port)
	explain(t, web).refused(t, "on the host's network", "say which port")
	explain(t, "--port", port, "--container", web).want(t, port+"/tcp "+testbed.address+":"+port)
}

func TestExplainSharedNetwork(t *testing.T) {
	t.Parallel()
	owner, app := unique("owner"), unique("app")
	// The owner publishes what the other, which could not, listens on.
	runContainer(t, owner, "v1", "-e", "LISTEN=:9000", "-p", "8080", "-p", "9000")
	docker(t, "run", "-d", "--name", app, "--network", "container:"+owner, testbed.image)
	t.Cleanup(func() { _, _ = command("docker", "rm", "-f", app) })
	explain(t, app, "--check", "http:///healthz").want(t, "8080/tcp "+at(t, owner, "8080/tcp"))
	explain(t, app, "--internal").want(t, "8080/tcp "+addressOn(t, owner, "bridge")+":8080")
	docker(t, "restart", "-t", "0", owner)
	explain(t, app).refused(t, "has been restarted since", owner)
	docker(t, "rm", "-f", owner)
	explain(t, app).refused(t, "is not there any more")
}

// The sidekick of a container that uses another's network withdraws when that one dies.
func TestSharedNetworkDies(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	owner, app := unique("owner"), unique("app")
	runContainer(t, owner, "v1", "-e", "LISTEN=:9000", "-p", "8080")
	startAnnounce(t, endpoint, "--container", app, "--service", "website")
	r := record(t, endpoint, "website")
	docker(t, "run", "-d", "--name", app, "--network", "container:"+owner, testbed.image)
	t.Cleanup(func() { _, _ = command("docker", "rm", "-f", app) })
	r.holds(t, "it is announced", "website/"+app)
	docker(t, "kill", owner)
	r.holds(t, "its network is gone")
	docker(t, "start", owner)
	docker(t, "restart", "-t", "0", app)
	r.holds(t, "both are there again", "website/"+app)
}

func TestExplainManyPorts(t *testing.T) {
	t.Parallel()
	web := unique("web")
	runContainer(t, web, "v1", "-p", "53/tcp", "-p", "53/udp", "-p", "8000-8002",
		"--label", "rollcall.53/udp.service=fast", "--label", "rollcall.53/tcp.service=sure", "--label", "rollcall.8001.service=middle")
	e := explain(t, "--port", "53,53/udp,8000-8100", "--container", web)
	var keys []string
	for _, p := range e.Ports {
		for key, value := range p.Record {
			keys = append(keys, p.Port+" "+key)
			if !strings.Contains(value, `"proto":"`+p.Port[len(p.Port)-3:]+`"`) {
				t.Errorf("port %s has the record %s", p.Port, value)
			}
		}
	}
	image := strings.Split(testbed.image, ":")[0]
	want := []string{
		"53/tcp /services/sure/" + web + "-53", "53/udp /services/fast/" + web + "-53-udp",
		"8000/tcp /services/" + image + "-8000/" + web + "-8000", "8001/tcp /services/middle/" + web + "-8001",
		"8002/tcp /services/" + image + "-8002/" + web + "-8002",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
}

// On a machine that has nothing but IPv6, the binding of that family is announced, and the
// container's own address is its global one.
func TestExplainIPv6(t *testing.T) {
	t.Parallel()
	six := newNetwork(t, "--ipv6", "--subnet", "fd72:6f6c:6c63::/64")
	web := unique("web")
	runContainer(t, web, "v1", "--network", six, "-p", "[::]::8080")
	const machine = "2001:db8::5"
	_, port, _ := strings.Cut(docker(t, "port", web, "8080/tcp"), "]:")
	if port == "" {
		_, port, _ = strings.Cut(docker(t, "port", web, "8080/tcp"), ":::")
	}
	explain(t, web, "--address", machine).want(t, "8080/tcp ["+machine+"]:"+port)
	explain(t, web).refused(t, "is of another address family than "+testbed.address)
	own := docker(t, "inspect", "--format", `{{(index .NetworkSettings.Networks "`+six+`").GlobalIPv6Address}}`, web)
	explain(t, web, "--address", machine, "--internal").want(t, "8080/tcp ["+own+"]:8080")
}

// What etcd knows is told: whether the record is there, whose it is, and that it is drained.
func TestExplainAsksEtcd(t *testing.T) {
	t.Parallel()
	endpoint := newEtcd(t)
	web, other := unique("web"), unique("other")
	for _, name := range []string{web, other} {
		runContainer(t, name, "v1", "-P", "--label", "rollcall.service=website", "--label", "rollcall.instance=the-one")
	}
	r := record(t, endpoint, "website")
	says := func(name, want string, announced int) {
		t.Helper()
		e := explain(t, "--endpoints", endpoint, name)
		if len(e.Ports) != 1 || !strings.Contains(e.Ports[0].Etcd, want) || e.Announced != announced {
			t.Errorf("%+v, want %q and %d announced", e, want, announced)
		}
	}
	says(web, "the record is not there", 1)
	startAnnounce(t, endpoint, "--container", web)
	r.holds(t, "it is announced", "website/the-one")
	says(web, "the record is there, at "+at(t, web, "8080/tcp"), 1)
	says(other, "the record is that of container "+docker(t, "inspect", "--format", "{{slice .Id 0 12}}", web), 1)
	mustRun(t, testbed.announce, "drain", "website/the-one", "--endpoints", endpoint)
	says(web, "drained: `announce resume website/the-one` puts it back", 0)
}

func TestExplainNobody(t *testing.T) {
	t.Parallel()
	_, err := command(testbed.announce, "explain", unique("nobody"), "--address", testbed.address)
	if err == nil || !strings.Contains(err.Error(), "there is no container") {
		t.Errorf("got %v", err)
	}
}

// The table says the same to people.
func TestExplainTable(t *testing.T) {
	t.Parallel()
	web := unique("web")
	runContainer(t, web, "v1", "-P", "--label", "rollcall.service=website", "-e", "ROLLCALL_VERSION=v7", "-e", "SERVICE_TAGS=a,b", "--label", "rollcall.check=http:///healthz", "--label", "rollcall.service.host=x")
	out := mustRun(t, testbed.announce, "explain", web, "--address", testbed.address, "--weight", "7", "--endpoints", "http://"+local(ports.Free(t)))
	for _, words := range [][]string{
		{"CONTAINER", "ID", "IMAGE", "STATE", "NETWORK"},
		{web, testbed.image, "running", "default"},
		{"8080/tcp", at(t, web, "8080/tcp"), "published on 0.0.0.0:", "chosen"},
		{"8080/tcp", at(t, web, "8080/tcp"), "http:///healthz", "check answered"},
		{"service", "website", "label rollcall.service"},
		{"version", "v7", "variable ROLLCALL_VERSION"},
		{"weight", "7", "flag --weight"},
		{"service.host", "no setting is called so", "label"},
		{"/services/website/", web},
		{`"weight":7`, `"meta":{"tags":"a,b"}`},
		{"etcd was not asked: no answer from"},
	} {
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
		}) {
			t.Errorf("no line with %q in\n%s", words, out)
		}
	}
}

func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
