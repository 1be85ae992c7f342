package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// A call is what a program built like render made of its arguments and environment.
type call struct {
	code   int
	stderr string
	stdout string
	ran    string // which command ran, with what

	listen         string
	minWait        time.Duration
	maxLoss        uint16
	retries        int
	once           bool
	services, sets []string
	labels         map[string]string
	etcd           Etcd
}

// run builds the program and calls it. An environment variable's absence and emptiness are both "".
func run(t *testing.T, env map[string]string, args ...string) *call {
	t.Helper()
	c := &call{}
	root := &cobra.Command{Use: "render", Short: "Render balancers"}
	c.etcd.AddFlags(root.PersistentFlags())
	nginx := &cobra.Command{
		Use: "nginx",
		PreRunE: func(*cobra.Command, []string) error {
			var m Mistakes
			m.Join(c.etcd.Validate())
			if !strings.Contains(c.listen, ":") {
				m.Addf("--listen", `write ":80" or "127.0.0.1:80"`, "%q is not an address", c.listen)
			}
			seen := map[string]bool{}
			for _, s := range c.services {
				if seen[s] {
					m.Addf("--service", "", "%s is given twice", s)
				}
				seen[s] = true
			}
			return m.Err()
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c.ran = "nginx " + strings.Join(args, " ")
			return nil
		},
	}
	fs := nginx.Flags()
	fs.StringVarP(&c.listen, "listen", "l", ":80", "`ADDRESS` to listen on")
	fs.DurationVar(&c.minWait, "min-wait", 20*time.Millisecond, "`DURATION` between two configurations")
	fs.Uint16Var(&c.maxLoss, "max-loss", 50, "`PERCENT` that may be lost at once")
	fs.IntVar(&c.retries, "retries", 3, "how often")
	fs.BoolVarP(&c.once, "once", "o", false, "exit after the first configuration")
	fs.StringSliceVar(&c.services, "service", nil, "`SERVICE` to balance")
	fs.StringArrayVar(&c.sets, "set", nil, "`KEY=VALUE` for the template")
	fs.StringToStringVar(&c.labels, "label", nil, "labels")

	status := &cobra.Command{Use: "status", Args: cobra.NoArgs, RunE: func(_ *cobra.Command, _ []string) error {
		c.ran = "status"
		return nil
	}}
	fail := &cobra.Command{Use: "fail WAY", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		switch args[0] {
		case "exit":
			return fmt.Errorf("wrapped: %w", &ExitError{Code: 7, Err: errors.New("refused")})
		case "silent":
			return &ExitError{Code: 9}
		case "mistake":
			return &Mistake{Where: "--template", Err: errors.New("no such file"), Hint: "write a path"}
		default:
			return errors.New("connect etcd: connection refused")
		}
	}}
	root.AddCommand(nginx, status, fail)
	BindEnv(root, "RENDER", func(k string) (string, bool) { v, ok := env[k]; return v, ok })

	var stdout, stderr bytes.Buffer
	root.SetOut(&stdout)
	c.code = Execute(context.Background(), root, args, &stderr)
	c.stdout, c.stderr = stdout.String(), stderr.String()
	return c
}
