// Package machines starts a small fleet for tests: whole machines, each with systemd as
// its first process, a Docker engine of its own, a member of one etcd cluster and a web
// server, on a network that only this host reaches. rollcall is installed on them as its
// users would install it.
//
// A machine is a container of the host's Docker engine. Killed, it is a machine that has
// lost its power; taken off the network, one behind a broken switch. The package knows
// rollcall from outside only: its programs, its units and what stands in etcd.
//
// Its functions give errors and know no test, because the proof program uses them too.
package machines
