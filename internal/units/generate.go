package units

import (
	"fmt"
	"time"
)

// dockerProgram is a full path, as old systemds ask for.
const dockerProgram = "/usr/bin/docker"

// margin is what a unit gets beyond what its commands take at most.
const margin = 10 * time.Second

// Units gives the template of the container's unit and, unless it is for machines with
// one announcer for all, that of its sidekick. The App is taken to be valid.
func (a *App) Units() []*Unit {
	if a.Global {
		return []*Unit{a.container()}
	}
	return []*Unit{a.container(), a.announcer()}
}

// container runs the container in the foreground, so that systemd knows when it ends.
func (a *App) container() *Unit {
	u := &Unit{Name: a.Name + "@.service"}
	a.introduce(u)
	u.set("Unit", "Description", a.Service+": container %p-%i")
	// PartOf: when Docker is restarted this is stopped before it, and in good order. Wants: it may run without a unit.
	u.set("Unit", "Wants", "docker.service network-online.target")
	u.set("Unit", "PartOf", "docker.service")
	u.set("Unit", "After", "docker.service network-online.target")
	if a.Global {
		u.set("Unit", "After", "etcd.service")
		// Not after it: containers start although announce waits for etcd.
		u.set("Unit", "Wants", "announce.service")
	} else {
		u.comment("Unit", "Brings the announcer back after the container died: BindsTo= there only stops it.")
		u.set("Unit", "Wants", a.sidekick()+"@%i.service")
	}
	u.set("Unit", "StartLimitIntervalSec", "0")

	if a.Global {
		u.set("Service", "EnvironmentFile", "-/etc/environment", "-/etc/default/rollcall")
	}
	u.set("Service", "EnvironmentFile", "-/etc/default/%p")
	u.comment("Service", "What a killed client left behind may still be serving: it gets the time to finish.")
	u.run("ExecStartPre", a.dockerStop()...)
	u.run("ExecStartPre", "-"+dockerProgram, "rm --force %p-%i")
	u.run("ExecStart", a.dockerRun()...)
	if a.Global {
		a.confirm(u)
	}
	u.run("ExecStop", a.dockerStop()...)
	if a.Global {
		u.comment("Service", "While etcd is known to answer: it may be away at the next start, which lifts what is left.")
		u.run("ExecStop", "-"+a.Announce, "resume", a.Service+"/"+a.instance(), "--timeout 1s")
	}
	u.comment("Service", "143: ended by TERM, 137: by KILL, which is how docker stop ends what does not listen.")
	u.set("Service", "SuccessExitStatus", "137 143")
	u.set("Service", "Restart", "always")
	u.set("Service", "RestartSec", "1s")
	start, stop := a.StopTimeout+6*margin, a.StopTimeout+margin
	if a.Global {
		start, stop = start+2*a.WaitRouted, stop+a.DrainTimeout+margin
	}
	u.set("Service", "TimeoutStartSec", seconds(start))
	u.set("Service", "TimeoutStopSec", seconds(stop))
	a.place(u)
	u.set("Install", "WantedBy", "multi-user.target")
	return u
}

// introduce says on top of the file what it is and how it is used.
func (a *App) introduce(u *Unit) {
	u.comment("", u.Name+": a container of "+a.Service+", which is called "+a.Name+"-1 for the instance 1.")
	switch {
	case a.Global && a.WaitRouted > 0:
		u.comment("", "The machine's announce.service announces it. Starting returns when every balancer routes to it:",
			"", "    systemctl start "+a.Name+"@1")
	case a.Global:
		u.comment("", "The machine's announce.service announces it.", "", "    systemctl start "+a.Name+"@1")
	default:
		u.comment("", a.sidekick()+"@.service announces it, and holds its stop until no balancer sends it anything;",
			"to announce.service, where that runs too, the label rollcall.ignore says so.",
			"", "    systemctl start "+a.Name+"@1 "+a.sidekick()+"@1")
	}
	u.comment("", "", "Variables for docker's client are read from /etc/default/"+a.Name+", for --env KEY without a value.")
}

func (a *App) dockerStop() []string {
	return []string{"-" + dockerProgram, "stop --time " + whole(a.StopTimeout) + " %p-%i"}
}

// dockerRun gives the words of the container's command. What is the same for all
// containers of the application stands on them as labels, so that another version of
// it is a change of this unit alone.
func (a *App) dockerRun() []string {
	words := append([]string{dockerProgram, "run --rm --name %p-%i --stop-timeout " + whole(a.StopTimeout)}, a.ports()...)
	label := func(name, value string) {
		if value != "" {
			words = append(words, "--label "+Quote("rollcall."+name+"="+value))
		}
	}
	if a.Global {
		label("service", a.Service)
		words = append(words, "--label rollcall.instance="+a.instance())
		label("port", a.Ports)
		label("check", a.Check)
	} else {
		label("ignore", "true") // by the machine's announcer, if there is one: the sidekick does not heed it
	}
	label("version", a.Version)
	label("host", a.Host)
	label("path", a.Path)
	for _, e := range a.Env {
		words = append(words, "--env "+Quote(e))
	}
	for _, v := range a.Volumes {
		words = append(words, "--volume "+Quote(v))
	}
	words = append(words, quoteAll(a.Options)...)
	words = append(words, Quote(a.Image))
	return append(words, quoteAll(a.Command)...)
}

// instance gives the record's name: with the machine's, because units of one name may
// run on several machines, or for a moment do when a machine was thought to be lost.
func (a *App) instance() string { return "%H-" + a.Name + "-%i" }

// confirm has starting and stopping wait for the balancers, where no sidekick does. None of
// it may fail the unit: a container that runs is better than one that is not announced.
func (a *App) confirm(u *Unit) {
	id := a.Service + "/" + a.instance()
	u.comment("Service", "Lifts an order that the last stop has left in etcd.")
	wait := max(a.WaitRouted, time.Second)
	u.run("ExecStartPost", "-"+a.Announce, "resume", id, fmt.Sprintf("--timeout %s", wait))
	if a.WaitRouted > 0 {
		u.run("ExecStartPost", "-"+a.Announce, "wait", id, fmt.Sprintf("--timeout %s", wait))
	}
	u.run("ExecStop", "-"+a.Announce, "drain", id, fmt.Sprintf("--timeout %s", a.DrainTimeout))
	u.comment("Service", "At shutdown announce withdraws all records of the machine by itself, and stops when that is proven.")
	u.run("ExecStop", "-/bin/sh", `-c "while systemctl is-active announce.service | grep -q deactivating; do sleep 0.2; done"`)
}

// place says where fleet may put the container.
func (a *App) place(u *Unit) {
	if !a.Fleet {
		return
	}
	for _, m := range a.Metadata {
		u.set("X-Fleet", "MachineMetadata", m)
	}
	if a.Spread {
		u.set("X-Fleet", "Conflicts", a.Name+"@*.service")
	}
}

// announcer is the sidekick of one container.
func (a *App) announcer() *Unit {
	u := &Unit{Name: a.sidekick() + "@.service"}
	main := a.Name + "@%i.service"
	u.comment("", u.Name+": announces the container of "+a.Name+"@.service that has the same instance name.",
		"It is ready when every balancer routes to it, and has stopped when none sends it anything any more;",
		"the container is stopped only after that. Where etcd is, and more, is said in /etc/default/rollcall.")
	u.set("Unit", "Description", a.Service+": announcer of "+a.Name+"-%i")
	u.set("Unit", "BindsTo", main)
	// At a boot a renderer that cannot start holds it back, for two minutes at most.
	u.comment("Unit", "Stopped before its container, and at shutdown before this machine's balancers, which it waits for.")
	u.set("Unit", "After", main+" network-online.target docker.service etcd.service",
		"nginx.service apache2.service haproxy.service",
		"render-nginx.service render-apache.service render-haproxy.service",
		"balancer@nginx.service balancer@apache.service balancer@haproxy.service")
	u.set("Unit", "Wants", "network-online.target")
	u.set("Unit", "StartLimitIntervalSec", "0")

	u.set("Service", "Type", "notify")
	u.set("Service", "NotifyAccess", "main")
	u.set("Service", "EnvironmentFile", "-/etc/environment", "-/etc/default/rollcall")
	u.run("ExecStart", a.announce()...)
	u.set("Service", "Restart", "always")
	u.set("Service", "RestartSec", "500ms")
	u.comment("Service", "One that hangs is replaced before its lease ends.")
	u.set("Service", "WatchdogSec", "8s")
	u.set("Service", "TimeoutAbortSec", "1s")
	u.comment("Service", "While etcd is away it goes on trying: a limit would stop it, and withdraw what it has announced.")
	u.set("Service", "TimeoutStartSec", "infinity")
	u.comment("Service", "More than --drain-timeout. No RestartKillSignal=SIGUSR1 here: who restarts the container restarts",
		"this too, and requests would go on being sent to what is stopped if the record were kept.")
	u.set("Service", "TimeoutStopSec", seconds(a.DrainTimeout+margin))
	harden(u)
	if a.Fleet {
		u.set("X-Fleet", "MachineOf", main)
	}
	return u
}

// announce gives the words of the sidekick's command.
func (a *App) announce() []string {
	words := []string{
		a.Announce, "--container " + a.Name + "-%i", "--instance " + a.instance(),
		"--service " + a.Service, "--port " + a.Ports,
	}
	if a.Check != "" {
		words = append(words, "--check "+Quote(a.Check))
	}
	if a.WaitRouted > 0 {
		words = append(words, "--wait-routed "+a.WaitRouted.String())
	}
	// Many sidekicks on one machine cannot listen on one port.
	return append(words, "--drain-timeout "+a.DrainTimeout.String(), "--listen=")
}
