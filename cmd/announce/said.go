package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
)

// said tells a person what was proven, and by how many.
func (c *connection) said(cmd *cobra.Command, what string, renderers int, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w\n   hint: --timeout gives it longer; `announce list` shows who routes to what", err)
	}
	if errors.Is(err, announcer.ErrNotAnnounced) {
		return fmt.Errorf("%w\n   hint: nobody knows since when, so nothing is proven; `announce list` shows what is announced", err)
	}
	if err != nil {
		return err
	}
	by := fmt.Sprintf("confirmed by %d renderers", renderers)
	switch renderers {
	case 0:
		by = "no renderer covers it, so there was nobody to wait for"
	case 1:
		by = "confirmed by 1 renderer"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s (%s)\n", what, by)
	return err
}

func split(id string) (service, instance string) {
	service, instance, _ = strings.Cut(id, "/")
	return service, instance
}
