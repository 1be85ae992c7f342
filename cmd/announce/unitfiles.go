package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"rollcall/internal/cli"
	"rollcall/internal/units"
)

// A page is a file to be written.
type page struct{ name, text string }

func (o *unitOptions) pages() ([]page, error) {
	var pages []page
	for _, u := range o.app.Units() {
		if !o.json {
			pages = append(pages, page{u.Name, u.Text()})
			continue
		}
		for _, instance := range o.instances {
			body, err := u.Body(instance)
			if err != nil {
				return nil, err
			}
			pages = append(pages, page{u.InstanceName(instance) + ".json", string(body)})
		}
	}
	return pages, nil
}

func (o *unitOptions) write(cmd *cobra.Command) error {
	pages, err := o.pages()
	if err != nil {
		return err
	}
	if o.output != "" {
		return o.writeFiles(cmd, pages)
	}
	for i, p := range pages {
		if i > 0 && !o.json {
			p.text = "\n" + p.text
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), p.text); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes all files or none: what differs is found before the first is touched.
func (o *unitOptions) writeFiles(cmd *cobra.Command, pages []page) error {
	var different []string
	for _, p := range pages {
		path := filepath.Join(o.output, p.name)
		old, err := os.ReadFile(path)
		switch {
		case err == nil && string(old) != p.text:
			different = append(different, path)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if len(different) > 0 && !o.force {
		return fmt.Errorf("%s: there is another file of this name, and nothing was written\n   hint: --force replaces it",
			strings.Join(different, ", "))
	}
	for _, p := range pages {
		path := filepath.Join(o.output, p.name)
		if err := renameio.WriteFile(path, []byte(p.text), 0o644, renameio.WithStaticPermissions(0o644)); err != nil {
			return fmt.Errorf("%w\n   hint: --output names a directory that is there and can be written to", err)
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), path); err != nil {
			return err
		}
	}
	return nil
}

// checkUnits prints what is wrong with unit files, one finding to a line.
func checkUnits(cmd *cobra.Command, paths []string) error {
	var files []*units.File
	var m cli.Mistakes
	for _, path := range paths {
		text, err := os.ReadFile(path)
		m.Add("", "--check reads files: those of units, as web@.service, and drop-ins", err)
		files = append(files, units.Parse(path, text))
	}
	if err := m.Err(); err != nil {
		return &cli.ExitError{Code: cli.ExitFailure, Err: err}
	}
	findings := units.Check(files...)
	for _, f := range findings {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), f); err != nil {
			return err
		}
	}
	if len(findings) > 0 {
		return &cli.ExitError{Code: cli.ExitFailure}
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "ok: %d files\n", len(files))
	return err
}
