package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"rollcall/internal/cli"
)

const statusTimeout = 5 * time.Second

func newStatus() *cobra.Command {
	var listen []string
	var output string
	var diff bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what should be served, what is on disk, what is running, and why",
		Long: `Render status asks running renders on this machine.

DESIRED is the configuration of the newest catalog, ON DISK what the files are, RUNNING
what the server was last proven to serve: when all is well, the three are one. What
was held, refused or left out is listed with its reason, and so are the other
renderers of the same records, with how many revisions of etcd they are behind.`,
		Example: `  render status
  render status --diff                    # and what the last reload changed
  render status --status-listen 127.0.0.1:9402,127.0.0.1:9404
  render status --output json | jq .running`,
		Args: noArguments,
		PreRunE: func(*cobra.Command, []string) error {
			var m cli.Mistakes
			if output != "table" && output != "json" {
				m.Addf("--output", "say table or json", "%q is neither table nor json", output)
			}
			return m.Err()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			var errs []error
			for n, addr := range listen {
				if n > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				errs = append(errs, showOne(cmd.Context(), cmd.OutOrStdout(), addr, output, diff))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringSliceVar(&listen, "status-listen", []string{"127.0.0.1:9402"}, "`ADDRESS` at which render listens; repeatable")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`FORMAT`: table or json")
	// $RENDER_OUTPUT is the file of a configuration.
	cli.WithoutEnv(cmd.Flags(), "output")
	cmd.Flags().BoolVar(&diff, "diff", false, "show what the last reload changed in the files")
	return cmd
}

// showOne asks one render and shows what it says.
func showOne(ctx context.Context, w io.Writer, addr, output string, diff bool) error {
	body, err := ask(ctx, addr)
	if err != nil {
		return fmt.Errorf("%w\n   hint: is render running? --status-listen says where it listens", err)
	}
	if output == "json" {
		_, err := w.Write(body)
		return err
	}
	var r report
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("answer of %s: %w", addr, err)
	}
	return r.show(w, time.Now(), diff)
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
