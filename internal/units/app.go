package units

import (
	"strconv"
	"strings"
	"time"
)

// An App is what the units are written for.
type App struct {
	Announce string // the program's full path

	Name    string // of the unit, and what its containers' names begin with
	Image   string
	Service string
	Ports   string // of the container, as 8080 or 8080,53/udp or 8000-8010

	Version, Host, Path, Check string   // told with the records; may be empty
	Env, Volumes, Options      []string // of docker run; an Option is one word, as --memory=64m
	Command                    []string // of the container

	WaitRouted   time.Duration // 0: a start does not wait
	DrainTimeout time.Duration
	StopTimeout  time.Duration // between TERM and KILL

	Global   bool // the machine's announcer announces it: there is no sidekick
	Fleet    bool
	Spread   bool     // fleet runs no two of them on one machine
	Metadata []string // of the machines that fleet may choose, as role=web
}

// sidekick gives the name of the sidekick's unit, without @ and what follows.
func (a *App) sidekick() string { return a.Name + "-announce" }

// ports gives the container's ports as docker run --publish takes them: each gets a free
// port of the machine, so that any number of containers have room.
func (a *App) ports() []string {
	var ports []string
	for p := range strings.SplitSeq(a.Ports, ",") {
		ports = append(ports, "--publish "+strings.TrimSpace(p))
	}
	return ports
}

// whole gives a duration in whole seconds, rounded up, as docker takes it.
func whole(d time.Duration) string { return strconv.Itoa(int((d + time.Second - 1) / time.Second)) }

// seconds gives the same as systemd takes it.
func seconds(d time.Duration) string { return whole(d) + "s" }
