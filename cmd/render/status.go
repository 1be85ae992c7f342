package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/renderer"
)

const statusTimeout = 5 * time.Second

func newStatus() *cobra.Command {
	var listen, output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a running render serves, and what keeps it from serving more",
		Args:  cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			var m cli.Mistakes
			if output != "table" && output != "json" {
				m.Addf("--output", "say table or json", "%q is neither table nor json", output)
			}
			return m.Err()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := ask(cmd.Context(), listen)
			if err != nil {
				return fmt.Errorf("%w\n   hint: is render running? --status-listen says where it listens", err)
			}
			if output == "json" {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var s renderer.Status
			if err := json.Unmarshal(body, &s); err != nil {
				return fmt.Errorf("answer of %s: %w", listen, err)
			}
			return show(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().StringVar(&listen, "status-listen", "127.0.0.1:9402", "address at which render listens")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
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

func show(w io.Writer, s renderer.Status) error {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	last := ""
	if !s.LastReload.IsZero() {
		last = cli.Age(time.Since(s.LastReload)) + " ago"
	}
	err := cli.Table(w, []string{"proxy", "output", "desired", "running", "revision", "drained", "services", "instances", "reloads", "last reload"}, [][]string{{
		s.Proxy, s.Output, s.Desired.Generation, s.Running.Generation, number(s.Running.Revision), number(s.Drained),
		strconv.Itoa(s.Services), strconv.Itoa(s.Instances), strconv.Itoa(s.Reloads), last,
	}})
	if err != nil {
		return err
	}
	if s.Error != "" {
		fmt.Fprintf(w, "\nnot served since %s: %s\n", cli.Age(time.Since(s.ErrorSince)), s.Error)
	}
	if len(s.Refused) > 0 {
		var rows [][]string
		for _, r := range s.Refused {
			rows = append(rows, []string{r.Key, r.Reason})
		}
		fmt.Fprintln(w)
		if err := cli.Table(w, []string{"refused", "reason"}, rows); err != nil {
			return err
		}
	}
	for host, reason := range s.Unresolved {
		fmt.Fprintf(w, "\nhost %s: %s\n", host, reason)
	}
	return nil
}
