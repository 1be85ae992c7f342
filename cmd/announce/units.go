package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rollcall/internal/announcer"
	"rollcall/internal/check"
	"rollcall/internal/cli"
	"rollcall/internal/units"
)

// unitOptions are the flags of `announce units`.
type unitOptions struct {
	app       units.App
	json      bool
	instances []string
	output    string
	force     bool
	check     bool
}

func newUnits() *cobra.Command {
	o := &unitOptions{}
	cmd := &cobra.Command{
		Use:   "units --name NAME --image IMAGE --port PORT [flags] [-- COMMAND…]\n  announce units --check FILE…",
		Short: "Write the systemd units of an application, or look for mistakes in units",
		Long: `Units writes two templates, of which systemd runs any number of instances:

  NAME@.service           runs a container of the image in the foreground, called NAME-1
                          for the instance 1, and publishes its ports on free ones
  NAME-announce@.service  its sidekick: announces it while it runs, as HOST-NAME-1; it has
                          started when every balancer routes to it, and holds the
                          container's stop until no balancer sends it anything any more

What follows -- is the container's command. Of --env a KEY without a value takes it from
/etc/default/NAME, where secrets are better kept. Everything is quoted: % and $ stay what they are.

--global writes NAME@.service alone, for machines where announce.service announces every
container. The unit itself then waits for the balancers when it starts and stops.

--fleet adds what fleet reads: one container of the application to a machine, and the
sidekick on the same; plain systemd ignores that. --json gives the bodies for fleet's API
instead, one to a line. The API expands no templates, so each of --instances is there by itself.

--check reads unit files of yours, and names what does not do what it seems to: what fleet
ignores or refuses, lost order, containers in the background, $ and % that mean something
else, times that cut each other short, a sidekick that does not come back. Name files that
belong together in one call. It exits with 1 if it finds anything.`,
		Example: `  announce units --name web --image hello:1.2 --service website --port 8080 --output /etc/systemd/system
  systemctl daemon-reload
  systemctl start web@1 web-announce@1        # returns when users reach it

  # an environment, a volume, a limit, and a command for the container
  announce units --name web --image hello:1.2 --service website --port 8080 --host www.example.com \
    --env GREETING='50% off' --env TOKEN --volume data:/var/lib/hello \
    --docker-option=--memory=256m -- serve --verbose

  # through fleet, and through its API
  announce units --name web --image hello:1.2 --service website --port 8080 --fleet --output .
  announce units --name web --image hello:1.2 --service website --port 8080 --json --instances 1..3 |
    while read -r body; do
      curl --unix-socket /run/fleet.sock -X PUT -H 'Content-Type: application/json' --data "$body" \
        "http://fleet/fleet/v1/units/$(jq -r .name <<<"$body")"
    done

  announce units --check /etc/systemd/system/web@.service /etc/systemd/system/web-announce@.service`,
		PreRunE: o.validate,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.check {
				return checkUnits(cmd, args)
			}
			return o.write(cmd)
		},
	}
	// Nothing of how to reach etcd is in the units: it is in /etc/default/rollcall.
	cmd.SetUsageTemplate(strings.Replace(cmd.UsageTemplate(), ".HasAvailableInheritedFlags", "false", 1))
	o.addFlags(cmd)
	return cmd
}

func (o *unitOptions) addFlags(cmd *cobra.Command) {
	fs, a := cmd.Flags(), &o.app
	fs.StringVar(&a.Name, "name", "", "`NAME` of the units, and what the containers' names begin with")
	fs.StringVar(&a.Image, "image", "", "`IMAGE` to run")
	fs.StringVar(&a.Service, "service", "", "`NAME` of the service (default: that of the units)")
	fs.StringVar(&a.Ports, "port", "", "container `PORTS` to publish and announce, as 8080 or 8080,53/udp")
	fs.StringVar(&a.Version, "service-version", "", "`TEXT` that is told as the version (default: the image's tag)")
	fs.StringVar(&a.Host, "host", "", "host `NAMES` the service answers to, separated by commas")
	fs.StringVar(&a.Path, "path", "", "path `PREFIX` the service answers to")
	fs.StringVar(&a.Check, "check-url", "", "announce it while it answers at this `URL`: http://:8080/healthz, https:///up or tcp://:5432")
	fs.StringArrayVar(&a.Env, "env", nil, "variable of the container, as `KEY=VALUE`, or KEY to take it from /etc/default/NAME (repeatable)")
	fs.StringArrayVar(&a.Volumes, "volume", nil, "volume or directory of the container, as `SOURCE:/PATH`, with :ro behind it if need be (repeatable)")
	fs.StringArrayVar(&a.Options, "docker-option", nil, "one more `OPTION` of docker run, in one word, as --memory=256m (repeatable)")
	fs.DurationVar(&a.WaitRouted, "wait-routed", 30*time.Second, "`DURATION` for which a start waits at most for the balancers; 0 for not at all")
	fs.DurationVar(&a.DrainTimeout, "drain-timeout", 30*time.Second, "`DURATION` for which a stop waits at most for the balancers")
	fs.DurationVar(&a.StopTimeout, "stop-timeout", 20*time.Second, "`DURATION` that the container may then take to end, before it is killed")
	fs.BoolVar(&a.Global, "global", false, "without a sidekick: announce.service on the machine announces all containers")
	fs.BoolVar(&a.Fleet, "fleet", false, "add what fleet reads")
	fs.BoolVar(&a.Spread, "spread", true, "have fleet run no two of them on one machine")
	fs.StringArrayVar(&a.Metadata, "metadata", nil, "have fleet choose machines that have this `KEY=VALUE` (repeatable)")
	fs.BoolVar(&o.json, "json", false, "write the bodies for fleet's API; implies --fleet")
	fs.StringSliceVar(&o.instances, "instances", nil, "`NAMES` of the instances for --json, separated by commas; 1..3 is 1,2,3")
	fs.StringVar(&o.output, "output", "", "write files into this `DIRECTORY` (default: everything to standard output)")
	fs.BoolVar(&o.force, "force", false, "replace files in --output that are different")
	fs.BoolVar(&o.check, "check", false, "look for mistakes in unit files instead")
	// What is set for announcing on a machine says nothing of the application that units are for.
	fs.VisitAll(func(f *pflag.Flag) { cli.WithoutEnv(fs, f.Name) })
	_ = cmd.MarkFlagDirname("output") // it is there
	for _, name := range []string{
		"name", "image", "service", "port", "service-version", "host", "path", "env", "docker-option", "metadata", "instances",
	} {
		completes(cmd, name)
	}
	completes(cmd, "check-url", "http://", "https://", "tcp://")
	for _, name := range []string{"wait-routed", "drain-timeout", "stop-timeout"} {
		completes(cmd, name, "10s", "30s", "1m", "5m")
	}
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		if o.check {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// validate says everything that is wrong at once.
func (o *unitOptions) validate(cmd *cobra.Command, args []string) error {
	var m cli.Mistakes
	if o.check {
		cmd.Flags().Visit(func(f *pflag.Flag) {
			if f.Name != "check" && cmd.InheritedFlags().Lookup(f.Name) == nil {
				m.Addf("--"+f.Name, "leave it out", "makes no difference to --check")
			}
		})
		if len(args) == 0 {
			m.Addf("FILE", "name the files of the container and of its sidekick", "no file is named")
		}
		return m.Err()
	}
	if at := cmd.ArgsLenAtDash(); at > 0 || at < 0 && len(args) > 0 {
		m.Addf(args[0], "the container's command stands behind --; files are read with --check", "unexpected argument")
	} else {
		o.app.Command = args
	}
	o.complete()
	for _, mistake := range o.app.Mistakes() {
		where := mistake.Setting
		if where != strings.ToUpper(where) {
			where = "--" + where
		}
		m.Add(where, mistake.Hint, mistake.Err)
	}
	if o.app.Ports != "" {
		m.Add("--port", "for example 8080, or 8080,53/udp, or 8000-8010", announcer.ValidatePorts(o.app.Ports))
	}
	if o.app.Check != "" {
		_, err := check.Parse(o.app.Check)
		m.Add("--check-url", "the port is the container's; without one, what is announced is asked", err)
	}
	switch {
	case o.json && len(o.instances) == 0:
		m.Addf("--instances", "for example --instances 1..3", "is missing: fleet's API expands no templates")
	case !o.json && len(o.instances) > 0:
		m.Addf("--instances", "systemctl start "+o.app.Name+"@1 starts the instance 1",
			"templates have any instance; only --json writes them one by one")
	}
	instances, err := expand(o.instances)
	m.Add("--instances", "for example 1,2 or 1..3 or blue,green", err)
	o.instances = instances
	if o.force && o.output == "" {
		m.Addf("--force", "add --output DIRECTORY", "there is nothing to replace")
	}
	return m.Err()
}

// complete fills in what follows from the rest.
func (o *unitOptions) complete() {
	a := &o.app
	// What writes the units is what they run. If it cannot be said, that is a mistake of the units.
	a.Announce, _ = os.Executable()
	a.Fleet = a.Fleet || o.json
	a.Ports = strings.ReplaceAll(a.Ports, " ", "")
	if a.Service == "" {
		a.Service = a.Name
	}
	image, _, _ := strings.Cut(a.Image, "@")
	if colon := strings.LastIndexByte(image, ':'); a.Version == "" && colon > strings.LastIndexByte(image, '/') {
		a.Version = image[colon+1:]
	}
}

// expand gives the instances one by one.
func expand(listed []string) ([]string, error) {
	const most = 1000
	var all []string
	for _, name := range listed {
		names := []string{strings.TrimSpace(name)}
		if first, last, ok := strings.Cut(names[0], ".."); ok {
			from, err1 := strconv.ParseUint(first, 10, 31)
			to, err2 := strconv.ParseUint(last, 10, 31)
			if err1 != nil || err2 != nil || to < from || to-from >= most {
				return nil, fmt.Errorf("%.80q is not a range of at most %d numbers", name, most)
			}
			names = nil
			for n := from; n <= to; n++ {
				names = append(names, strconv.FormatUint(n, 10))
			}
		}
		for _, n := range names {
			if err := units.CheckInstance(n); err != nil {
				return nil, err
			}
			if slices.Contains(all, n) {
				return nil, fmt.Errorf("%q is named twice", n)
			}
			all = append(all, n)
		}
	}
	if len(all) > most {
		return nil, fmt.Errorf("%d instances are more than %d", len(all), most)
	}
	return all, nil
}
