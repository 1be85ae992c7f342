package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/renderer"
)

const statusTimeout = 5 * time.Second

func newStatus() *cobra.Command {
	var listen, format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running render serves, and what keeps it from serving more",
		Args:  cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			var m cli.Mistakes
			if format != "table" && format != "json" {
				m.Addf("--format", "say table or json", "%q is neither table nor json", format)
			}
			return m.Err()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := ask(cmd.Context(), listen)
			if err != nil {
				return fmt.Errorf("%w\n   hint: is render running? --status-listen says where it listens", err)
			}
			if format == "json" {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var s renderer.Status
			if err := json.Unmarshal(body, &s); err != nil {
				return fmt.Errorf("answer of %s: %w", listen, err)
			}
			return show(cmd.OutOrStdout(), s, time.Now())
		},
	}
	cmd.Flags().StringVar(&listen, "status-listen", "127.0.0.1:9402", "`ADDRESS` at which render listens")
	// Not --output: $RENDER_OUTPUT is the file of a configuration.
	cmd.Flags().StringVarP(&format, "format", "o", "table", "`FORMAT`: table or json")
	return cmd
}

func ask(ctx context.Context, addr string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", addr, res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, 64<<20))
}

func show(w io.Writer, s renderer.Status, now time.Time) error {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	last := ""
	if !s.LastReload.IsZero() {
		last = cli.Age(now.Sub(s.LastReload)) + " ago"
	}
	err := cli.Table(w, []string{"proxy", "output", "desired", "running", "revision", "drained", "services", "instances", "reloads", "last reload"}, [][]string{{
		s.Proxy, s.Output, s.Desired.Generation, s.Running.Generation, number(s.Running.Revision), number(s.Drained),
		strconv.Itoa(s.Services), strconv.Itoa(s.Instances), strconv.Itoa(s.Reloads), last,
	}})
	if err != nil {
		return err
	}
	if s.Error != "" {
		if _, err := fmt.Fprintf(w, "\nnot served for %s: %s\n", cli.Age(now.Sub(s.ErrorSince)), printable(s.Error)); err != nil {
			return err
		}
	}
	var refused, skipped, unresolved [][]string
	for _, r := range s.Refused {
		refused = append(refused, []string{r.Key, r.Reason})
	}
	for _, id := range s.Skipped {
		skipped = append(skipped, []string{id})
	}
	for _, host := range slices.Sorted(maps.Keys(s.Unresolved)) {
		unresolved = append(unresolved, []string{host, s.Unresolved[host]})
	}
	for _, table := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"refused", "reason"}, refused},
		{[]string{"not routed to"}, skipped},
		{[]string{"host", "reason"}, unresolved},
	} {
		if len(table.rows) == 0 {
			continue
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if err := cli.Table(w, table.header, table.rows); err != nil {
			return err
		}
	}
	return nil
}

// printable keeps a server's words, which may quote anything, from the terminal's control.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
