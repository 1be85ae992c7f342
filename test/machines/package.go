package machines

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
)

// Package makes the .deb of these sources in a directory, as a version, and gives its path.
func Package(ctx context.Context, dir, version string) (string, error) {
	// The least compression: it is unpacked a moment later.
	out, err := inSources(ctx, "env", "DPKG_DEB_COMPRESSOR_LEVEL=0", "VERSION="+version, "DIST="+dir, "scripts/package")
	if err != nil {
		return "", err
	}
	lines := strings.Split(out, "\n")
	return lines[len(lines)-1], nil
}

// installation gives the tree of `make install DESTDIR=…` as an archive. The programs are those
// of a package, because making others would take as long again.
func installation(ctx context.Context, dir, deb string) (path string, err error) {
	unpacked, tree, path := filepath.Join(dir, "unpacked"), filepath.Join(dir, "tree"), filepath.Join(dir, "tree.tar")
	if _, err := command(ctx, nil, "dpkg-deb", "--extract", deb, unpacked); err != nil {
		return "", err
	}
	if _, err := inSources(ctx, "env", "BIN="+filepath.Join(unpacked, "usr", "bin"), "DESTDIR="+tree, "scripts/install"); err != nil {
		return "", err
	}
	_, err = command(ctx, nil, "tar", "-C", tree, "--owner=root", "--group=root", "-cf", path, ".")
	return path, err
}

// application gives a file system that holds the program hello alone, for docker import.
func application(ctx context.Context, dir string) ([]byte, error) {
	program := filepath.Join(dir, "hello")
	if _, err := inSources(ctx, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", program, "./examples/hello"); err != nil {
		return nil, err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close() // writes the end, too
	return out.Bytes(), err
}
