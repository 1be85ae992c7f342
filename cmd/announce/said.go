package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/announcer"
)

// said tells a person what was proven, and by how many.
func (c *connection) said(cmd *cobra.Command, what string, renderers int, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w\n   hint: --timeout gives it longer; `announce list` shows who routes to what", err)
	}
	if errors.Is(err, announcer.ErrWeightless) {
		return fmt.Errorf("%w\n   hint: its rollcall.weight says so; 0 means no new requests", err)
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

// A cutShort is an error that came of a wait which was ended, in words for people.
type cutShort struct {
	error
	words string
}

func (e *cutShort) Error() string { return e.words }

// Unwrap gives the error as it was.
func (e *cutShort) Unwrap() error { return e.error }

// intelligible has an error that came of a limit of time, or of a signal, say so, and
// nothing of contexts. The limit is ctx's; where that has not been reached, one request had
// a shorter one.
func intelligible(ctx context.Context, err error, limit time.Duration) error {
	var cause error
	why := "not within " + limit.String()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		if cause = context.DeadlineExceeded; ctx.Err() == nil {
			why = "no answer in time"
		}
	case errors.Is(err, context.Canceled):
		cause, why = context.Canceled, "interrupted"
	default:
		return err
	}
	// The last one is this program's; before it, a renderer may have told of its own.
	text := err.Error()
	at := strings.LastIndex(text, cause.Error())
	if at < 0 {
		return err
	}
	return &cutShort{err, text[:at] + why + text[at+len(cause.Error()):]}
}
