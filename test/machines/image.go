package machines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Image gives the tag of the machine image. scripts/machine-image makes it, in about a
// minute, unless it is there.
func Image(ctx context.Context) (tag string, err error) {
	return inSources(ctx, "scripts/machine-image")
}

// inSources runs a program in the directory of go.mod.
func inSources(ctx context.Context, program string, args ...string) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	return command(ctx, nil, "env", append([]string{"--chdir=" + root, program}, args...)...)
}

// repository finds the directory of go.mod, from the working directory upwards.
func repository() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := at; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: no go.mod in %s or above it; run this inside of rollcall's sources", at)
		}
	}
}

// command runs a program to its end and gives what it printed; the error holds its own words.
func command(ctx context.Context, stdin io.Reader, program string, args ...string) (string, error) {
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		said := strings.TrimSpace(errs.String() + out.String())
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, said)
	}
	return strings.TrimSpace(out.String()), nil
}

// docker runs a command of the host's Docker engine.
func docker(ctx context.Context, args ...string) (string, error) {
	return command(ctx, nil, "docker", args...)
}
