package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
	"rollcall/internal/cli"
)

func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"layout":            {nil, []string{"--layout", "yaml"}, "--layout: layout \"yaml\" is none of json, hostport and directory\n   hint: say json, hostport or directory"},
		"ttl":               {nil, []string{"--ttl", "1s"}, "--ttl: 1s is less than 2s\n   hint: a short TTL withdraws live containers when etcd hesitates; 15s is a good value"},
		"ttl, no unit":      {nil, []string{"--ttl", "15"}, "--ttl: \"15\" is not a duration\n   hint: write a number and a unit: 500ms, 15s, 5m"},
		"weight, no number": {nil, []string{"--weight", "heavy"}, "--weight: \"heavy\" is not a whole number"},
		"drain timeout":     {nil, []string{"--drain-timeout", "0s"}, "--drain-timeout: 0s is not positive\n   hint: for example 30s"},
		"wait routed":       {nil, []string{"--wait-routed", "-1s"}, "--wait-routed: -1s is negative\n   hint: for example 30s, or 0 for not at all"},
		"weight":            {nil, []string{"--weight", "257"}, "--weight: 257 is not from 0 to 256\n   hint: 100 is the usual share"},
		"negative weight":   {nil, []string{"--weight", "-2"}, "--weight: -2 is not from 0 to 256\n   hint: 100 is the usual share"},
		"service":           {nil, []string{"--service", "My Site"}, "--service: name \"My Site\" must begin and end with a lower-case letter or a digit\n   hint: for example website"},
		"instance":          {nil, []string{"--instance", "a/b", "--container", "c"}, "--instance: name \"a/b\" may hold only a-z, 0-9, '.', '_' and '-'\n   hint: for example web-1"},
		"instance for all":  {nil, []string{"--instance", "web-1"}, "--instance: all containers of the machine would have one name\n   hint: name the container with --container, or leave --instance out"},
		"port":              {nil, []string{"--port", "90-80"}, "--port: range 90-80 runs backwards\n   hint: for example 8080, or 8080,53/udp, or 8000-8010"},
		"meta":              {nil, []string{"--meta", "rack"}, "--meta: \"rack\" is not KEY=VALUE\n   hint: for example --meta rack=b12"},
		"meta without key":  {nil, []string{"--meta", "=b12"}, "--meta: \"=b12\" is not KEY=VALUE\n   hint: for example --meta rack=b12"},
		"meta, unprintable": {nil, []string{"--meta", "rack=a\nb"}, "--meta: meta \"rack\": value \"a\\nb\" holds a character that cannot be printed\n   hint: for example --meta rack=b12"},
		"version":           {nil, []string{"--service-version", "a\x1b[2J"}, "--service-version: version \"a\\x1b[2J\" holds a character that cannot be printed\n   hint: one printable line of at most 256 bytes"},
		"address":           {nil, []string{"--address", "10.0.0.5:80"}, "--address: \"10.0.0.5:80\" is not an IP address\n   hint: an IP address of this machine, without a port"},
		"loopback":          {nil, []string{"--address", "127.0.0.1"}, "--address: 127.0.0.1 is loopback: no other machine can reach it\n   hint: the address under which the balancers reach this machine; `ip addr` shows them"},
		"loopback from env": {map[string]string{"COREOS_PRIVATE_IPV4": "127.0.0.1"}, nil, "--address: COREOS_PRIVATE_IPV4: 127.0.0.1 is loopback: no other machine can reach it\n   hint: say it: --address 10.0.0.5"},
		"container":         {nil, []string{"--container", "/web 1"}, "--container: \"/web 1\" is not a container's name\n   hint: `docker ps` shows the names"},
		"check":             {nil, []string{"--check", "8080"}, "--check: check \"8080\" is not a URL such as http://:8080/healthz or tcp://:5432\n   hint: the port is the container's; without one, what is announced is asked"},
		"check timing":      {nil, []string{"--check-rise", "0"}, "--check-interval, --check-timeout, --check-rise, --check-fall: rise 0 is not from 1 to 100\n   hint: 2s, 1s, 2 and 3 are good values"},
		"listen":            {nil, []string{"--listen", "9401"}, "--listen: \"9401\" is not ADDRESS:PORT\n   hint: for example 127.0.0.1:9401, or empty for none"},
		"listen, bad port":  {nil, []string{"--listen", ":http"}, "--listen: port \"http\" is not a number from 1 to 65535\n   hint: for example 127.0.0.1:9401, or empty for none"},
		"prefix":            {nil, []string{"--prefix", "/rollcall/x"}, "--prefix: prefix \"/rollcall/x\" is below /rollcall, which is rollcall's own\n   hint: for example /services"},
		"log level":         {nil, []string{"--log-level", "loud"}, "--log-level, --log-format: log level \"loud\" is none of debug, info, warn and error"},
		"unknown flag":      {nil, []string{"--servce", "x"}, "--servce: unknown flag\n   hint: did you mean --service?"},
		"unknown command":   {nil, []string{"lst"}, "\"lst\": unknown command\n   hint: did you mean list?"},
		"etcd's own":        {map[string]string{"ETCDCTL_ENDPOINTS": "ftp://x:1"}, nil, "--endpoints: \"ftp://x:1\" is neither http nor https\n   hint: write http://HOST:2379 or https://HOST:2379"},
		"environment":       {map[string]string{"ANNOUNCE_LAYOUT": "yaml"}, nil, "--layout: layout \"yaml\" is none of json, hostport and directory\n   hint: say json, hostport or directory"},
		"environment, type": {map[string]string{"ANNOUNCE_TAKEOVER": "perhaps"}, nil, "ANNOUNCE_TAKEOVER: \"perhaps\" is not true or false\n   hint: write true or false"},
		"several": {map[string]string{"ANNOUNCE_WEIGHT": "x"}, []string{"--ttl", "1s", "--port", "x", "--nonsense"}, strings.Join([]string{
			"4 mistakes:",
			"  --nonsense: unknown flag",
			"  ANNOUNCE_WEIGHT: \"x\" is not a whole number",
			"  --ttl: 1s is less than 2s\n     hint: a short TTL withdraws live containers when etcd hesitates; 15s is a good value",
			"  --port: port \"x\" is not a number from 1 to 65535\n     hint: for example 8080, or 8080,53/udp, or 8000-8010",
		}, "\n")},
	} {
		t.Run(name, func(t *testing.T) {
			c := called(tc.env, tc.args...)
			if c.code != cli.ExitUsage {
				t.Errorf("exit code %d, want %d", c.code, cli.ExitUsage)
			}
			if diff := cmp.Diff("announce: "+tc.want+"\nsee 'announce --help'\n", c.stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesOfSubcommands(t *testing.T) {
	const ids = "\n   hint: `announce list` shows them"
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"explain": {[]string{"explain"}, "CONTAINER: no container is named\n   hint: `docker ps -a` shows them"},
		"explain, more": {[]string{"explain", "--weight", "-1", "-o", "yaml"}, strings.Join([]string{
			"3 mistakes:",
			"  --weight: -1 is not from 0 to 256\n     hint: 100 is the usual share",
			"  --output: \"yaml\" is neither table nor json\n     hint: say table or json",
			"  CONTAINER: no container is named\n     hint: `docker ps -a` shows them",
		}, "\n")},
		"list":          {[]string{"list", "-o", "yaml"}, "--output: \"yaml\" is neither table nor json\n   hint: say table or json"},
		"drain":         {[]string{"drain", "web"}, "SERVICE/INSTANCE: \"web\" is not SERVICE/INSTANCE" + ids},
		"drain, name":   {[]string{"drain", "web/A"}, "SERVICE/INSTANCE: instance name \"A\" must begin and end with a lower-case letter or a digit" + ids},
		"resume":        {[]string{"resume", "web/../x"}, "SERVICE/INSTANCE: instance name \"../x\" must begin and end with a lower-case letter or a digit" + ids},
		"wait":          {[]string{"wait", "web/"}, "SERVICE/INSTANCE: instance name is empty" + ids},
		"wait, service": {[]string{"wait", "Web"}, "SERVICE/INSTANCE: service name \"Web\" must begin and end with a lower-case letter or a digit" + ids},
		"no time": {[]string{"wait", "Web", "--timeout", "0s"}, "2 mistakes:\n  SERVICE/INSTANCE: service name \"Web\" must begin and end with a lower-case letter or a digit\n" +
			"     hint: `announce list` shows them\n  --timeout: 0s is not positive\n     hint: for example 30s"},
	} {
		t.Run(name, func(t *testing.T) {
			c := called(nil, tc.args...)
			command := "announce " + tc.args[0]
			if c.code != cli.ExitUsage {
				t.Errorf("exit code %d, want %d", c.code, cli.ExitUsage)
			}
			if diff := cmp.Diff(command+": "+tc.want+"\nsee '"+command+" --help'\n", c.stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// accepted gives what the options of `announce` are after arguments and environment were taken in.
func accepted(t *testing.T, env map[string]string, args ...string) *options {
	t.Helper()
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	c := &connection{}
	o := &options{connection: c, ruleOptions: ruleOptions{lookup: lookup}}
	cmd := newCommand(lookup)
	cmd.ResetFlags()
	cmd.PreRunE, cmd.RunE = nil, nil
	c.addFlags(cmd)
	o.addFlags(cmd)
	cmd.PreRunE = func(*cobra.Command, []string) error { return o.validate(cmd) }
	cmd.RunE = func(*cobra.Command, []string) error { return nil }
	cli.BindEnv(cmd, "ANNOUNCE", lookup)
	var stderr strings.Builder
	if code := cli.Execute(t.Context(), cmd, args, &stderr); code != cli.ExitOK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	return o
}

func TestOptions(t *testing.T) {
	node, machine, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	o := accepted(t, map[string]string{
		"ANNOUNCE_SERVICE": "from-env", "ANNOUNCE_WEIGHT": "7", "ANNOUNCE_META": "a=1 b=2", "ANNOUNCE_TTL": "", "ANNOUNCE_PREFIX": "apps/",
		"ETCDCTL_ENDPOINTS": "10.0.0.1:2379,10.0.0.2:2379", "COREOS_PRIVATE_IPV4": "10.0.0.5", "STATE_DIRECTORY": "/var/lib/x",
	}, "--container", "apache1", "--service", "website", "--service-version", "52c7", "--port", "80")
	want := announcer.Rules{
		Node: node, Machine: machine, Address: o.rules.Address, Single: true,
		Flags: map[string]string{"service": "website", "version": "52c7", "port": "80", "weight": "7"},
		Meta:  map[string]string{"a": "1", "b": "2"}, Prefix: "/apps", Layout: "json",
	}
	if diff := cmp.Diff(want, o.rules, cmpopts.EquateComparable(o.rules.Address), cmpopts.IgnoreFields(announcer.Rules{}, "Bridge")); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for what, pair := range map[string][2]string{
		"address":    {o.rules.Address.String(), "10.0.0.5"},
		"prefix":     {o.prefix, "/apps"},
		"endpoints":  {strings.Join(o.etcd.Endpoints, " "), "10.0.0.1:2379 10.0.0.2:2379"},
		"ttl":        {o.ttl.String(), (15 * time.Second).String()},
		"state file": {o.stateFile(), "/var/lib/x/announce-apache1.lease"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %s, want %s", what, pair[0], pair[1])
		}
	}
}

func TestOwnVariableBeatsEtcdctls(t *testing.T) {
	o := accepted(t, map[string]string{"ANNOUNCE_ENDPOINTS": "10.0.0.1:1", "ETCDCTL_ENDPOINTS": "10.0.0.2:2"}, "--address", "::ffff:10.0.0.5", "--listen", "")
	if got := strings.Join(o.etcd.Endpoints, " "); got != "10.0.0.1:1" {
		t.Errorf("endpoints %s", got)
	}
	if got := o.rules.Address.String(); got != "10.0.0.5" {
		t.Errorf("address %s", got)
	}
	if len(o.rules.Flags) > 0 || o.rules.Single {
		t.Errorf("rules %+v", o.rules)
	}
	if got := o.stateFile(); !strings.HasSuffix(got, "/announce.lease") {
		t.Errorf("state file %s", got)
	}
}
