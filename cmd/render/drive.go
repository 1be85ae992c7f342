package main

import (
	"context"

	"rollcall/internal/discovery/docker"
	"rollcall/internal/reload"
)

// driven is what is configured, as the transaction sees it, with what has to be run
// and closed along with it.
type driven struct {
	proxy reload.Proxy
	run   func(context.Context) error // the supervised server; nil when it runs by itself
	close func() error
}

// drive finds the way in which the server is checked, told and asked.
func (o *options) drive() (driven, error) {
	d := driven{close: func() error { return nil }}
	c := o.commands
	if !o.server() {
		d.proxy = reload.NewCommands(reload.CommandsConfig{Name: o.name, Validate: c.validate, Reload: c.reload, Confirm: c.confirm})
		return d, nil
	}
	var master reload.Master
	var in reload.Runner
	pidFile := o.running(o.pidFile)
	switch {
	case o.supervise:
		child := o.child(o)
		child.Logger, child.StopTimeout = o.logger, o.stopWait
		supervisor := reload.NewSupervisor(child)
		master, d.run = supervisor, supervisor.Run
	case o.unit != "":
		unit := reload.NewUnit(o.unit)
		master, d.close = unit, unit.Close
	case o.container != "":
		engine, err := docker.NewControl()
		if err != nil {
			return driven{}, err
		}
		container := reload.NewContainer(reload.ContainerConfig{
			Name: o.container, Engine: engine, Programs: o.programs, ReloadSignal: pidFile.ReloadSignal, ReloadCommand: c.reload,
		})
		master, in = container, container.Run
	case c.reload != nil:
		master = reload.CommandMaster{Master: pidFile, Argv: c.reload}
	default:
		master = pidFile
	}
	proxy, err := o.driver(o, master, in)
	if err != nil {
		return driven{}, err
	}
	d.proxy = proxy
	if c.validate != nil || c.confirm != nil {
		d.proxy = reload.Override(proxy, c.validate, c.confirm)
	}
	return d, nil
}
