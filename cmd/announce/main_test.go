package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/cli"
)

// A call is what announce made of its arguments and environment.
type call struct {
	code           int
	stdout, stderr string
}

// program builds announce with an environment in which the machine has an address.
func program(env map[string]string) *cobra.Command {
	lookup := func(name string) (string, bool) {
		if v, ok := env[name]; ok {
			return v, true
		}
		if name == "COREOS_PRIVATE_IPV4" {
			return "10.0.0.5", true
		}
		return "", false
	}
	root := newCommand(lookup)
	cli.BindEnv(root, "ANNOUNCE", lookup)
	return root
}

func called(env map[string]string, args ...string) call {
	root := program(env)
	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	code := cli.Execute(context.Background(), root, args, &stderr)
	return call{code, stdout.String(), stderr.String()}
}

func TestHelpMentionsEveryLabel(t *testing.T) {
	c := called(nil, "--help")
	if c.code != cli.ExitOK {
		t.Fatalf("exit code %d: %s", c.code, c.stderr)
	}
	for _, word := range []string{
		"service", "instance", "port", "internal", "network", "version", "weight", "host", "path", "check", "check.<how>", "ignore", "meta.<key>", "<port>.<any",
	} {
		if !strings.Contains(c.stdout, "rollcall."+word) {
			t.Errorf("no word of rollcall.%s", word)
		}
	}
	for _, word := range []string{"SERVICE_NAME", "SERVICE_ID", "SERVICE_IGNORE", "ANNOUNCE_SERVICE", "ETCDCTL_ENDPOINTS", "USR1", "--container NAME", "--meta KEY=VALUE", "--wait-routed DURATION", "ANNOUNCE_WAIT_ROUTED"} {
		if !strings.Contains(c.stdout, word) {
			t.Errorf("no word of %s", word)
		}
	}
	if strings.Contains(c.stdout, "default -1") {
		t.Error("the help shows how a weight that was not said is kept")
	}
}

// Every flag that takes a value says in one word what kind.
func TestFlagsNameTheirValues(t *testing.T) {
	root := program(nil)
	for _, cmd := range append(root.Commands(), root) {
		for _, fs := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			fs.VisitAll(func(f *pflag.Flag) {
				if word, _ := pflag.UnquoteUsage(f); f.Value.Type() != "bool" && !strings.Contains(f.Usage, "`"+word+"`") {
					t.Errorf("%s --%s %s", cmd.Name(), f.Name, word)
				}
			})
		}
	}
}
