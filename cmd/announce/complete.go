package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/discovery"
	"rollcall/internal/discovery/etcd"
)

// completeTimeout bounds what a person waits for after the tab key.
const completeTimeout = time.Second

// A lister gives what an argument may be.
type lister func(ctx context.Context, c *connection, client *etcd.Client) ([]string, error)

// argument completes a command's only argument from what etcd tells. Whatever goes wrong,
// nothing is offered and nothing is said: the person is in the middle of a line.
func (c *connection) argument(list lister) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		const nothing = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 {
			return nil, nothing
		}
		// It reads the environment and checks the flags, which the shell's question leaves out.
		if err := cmd.PreRunE(cmd, []string{"any/any"}); err != nil {
			return nil, nothing
		}
		c.logger = slog.New(slog.DiscardHandler)
		var words []string
		err := c.connected(cmd, completeTimeout, func(ctx context.Context, client *etcd.Client) (err error) {
			words, err = list(ctx, c, client)
			return err
		})
		if err != nil {
			return nil, nothing
		}
		words = slices.DeleteFunc(words, func(w string) bool { return !strings.HasPrefix(w, typed) })
		slices.Sort(words)
		return words, nothing
	}
}

// services gives the names of all services.
func services(ctx context.Context, c *connection, client *etcd.Client) ([]string, error) {
	return announced(ctx, c, client, func(s *discovery.Service) []string { return []string{s.Name} })
}

// instances gives all that are announced.
func instances(ctx context.Context, c *connection, client *etcd.Client) ([]string, error) {
	return announced(ctx, c, client, func(s *discovery.Service) (ids []string) {
		for _, i := range s.Instances {
			ids = append(ids, i.ID())
		}
		return ids
	})
}

// servicesAndInstances gives both.
func servicesAndInstances(ctx context.Context, c *connection, client *etcd.Client) ([]string, error) {
	return announced(ctx, c, client, func(s *discovery.Service) []string {
		words := []string{s.Name}
		for _, i := range s.Instances {
			words = append(words, i.ID())
		}
		return words
	})
}

func announced(ctx context.Context, c *connection, client *etcd.Client, of func(*discovery.Service) []string) ([]string, error) {
	catalog, err := etcd.List(ctx, client, c.prefix, c.logger)
	if err != nil {
		return nil, err
	}
	var words []string
	for _, s := range catalog.Services {
		words = append(words, of(s)...)
	}
	return words, nil
}

// drained gives those that an operator keeps out.
func drained(ctx context.Context, _ *connection, client *etcd.Client) ([]string, error) {
	drains, err := etcd.ListDrains(ctx, client)
	var ids []string
	for id := range drains {
		ids = append(ids, id)
	}
	return ids, err
}
