package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// prepare finds out what may be asked of the server besides its configuration: to end its
// clients' connections, and to change its members while it runs. Where the server is out of
// reach, or is the business of commands of the operator's, it is neither. A secret is made
// where there is none yet if create says so.
func (o *options) prepare(ctx context.Context, create bool) error {
	if !o.server() {
		return nil
	}
	return errors.Join(o.findGate(ctx), o.findMembers(ctx, create))
}

// findGate gives the configuration a gate, for the servers that need one. Nginx has to
// have been built so that it counts the connections that it keeps.
func (o *options) findGate(ctx context.Context) error {
	if o.name == "haproxy" || o.container != "" || o.balancer.Control == "" || o.balancer.Settings.KeepAlive == 0 || o.balancer.Settings.Gate == 0 {
		return nil
	}
	if o.name == "nginx" && o.program != "" {
		if counts, err := reload.NginxCounts(ctx, o.program, reload.Run); err != nil || !counts {
			return err
		}
	}
	o.balancer.Gate = o.mark("gate")
	return nil
}

// mark gives the path of a file for which the server looks. It is where the control socket is,
// and one for each render of the machine.
func (o *options) mark(name string) string {
	if o.supervise {
		return filepath.Join(o.runDir, name)
	}
	dir := "/run"
	if os.Getuid() != 0 {
		dir = o.runDir
	}
	sum := sha256.Sum256([]byte(o.balancer.Control))
	return filepath.Join(dir, "rollcall-"+o.name+"-"+hex.EncodeToString(sum[:4])+"."+name)
}

// findMembers finds out how members change while the server runs.
func (o *options) findMembers(ctx context.Context, create bool) error {
	if o.container != "" || o.balancer.Control == "" || o.balancer.Settings.Dynamic == "off" ||
		o.commands.validate != nil || o.commands.confirm != nil {
		return nil
	}
	switch o.name {
	case "haproxy":
		if len(o.templates) > 0 {
			return nil // what it says of its servers cannot be said of those that are added
		}
		const longest = 97 // HAProxy adds to the path until it has taken the socket over
		if socket := membersSocket(o.balancer.Control); len(socket) <= longest {
			o.balancer.Members = socket
		}
		return nil
	case "nginx":
		if found, err := o.findLua(ctx); err != nil || !found {
			return err
		}
	}
	var err error
	if o.secret, err = secret(o.secretFile(), create); err != nil {
		return fmt.Errorf("secret by which %s lets render change its members: %w\n   hint: --set dynamic=off does without", o.title, err)
	}
	o.balancer.Members = o.secret
	if o.name == "apache" {
		o.balancer.Side = o.mark("side")
	}
	if o.name == "nginx" { // its configuration knows by what the secret is known
		o.balancer.Members = templates.NginxMembers(o.secret)
	}
	return nil
}

// findLua says whether there is Lua for members. To have asked for it in vain is an error.
func (o *options) findLua(ctx context.Context) (bool, error) {
	found := false
	if o.balancer.Standalone {
		o.balancer.LuaModules = luaModules()
		found = o.balancer.LuaModules != nil
	} else if o.program != "" {
		found = luaInside(ctx, o.program, o.main, o.outputs[0])
	}
	if !found && o.balancer.Settings.Dynamic == "lua" {
		return false, errors.New("--set dynamic=lua: nginx has no module for Lua, or its configuration uses it already\n   hint: apt-get install libnginx-mod-http-lua")
	}
	return found, nil
}

// sockets are those that HAProxy makes for render.
func (o *options) sockets() []string {
	if o.balancer.Members == "" {
		return []string{o.balancer.Control}
	}
	return []string{o.balancer.Control, o.balancer.Members}
}

// secretFile is beside the output, like all that has to outlive a run directory: another
// secret is another configuration.
func (o *options) secretFile() string {
	dir, name := filepath.Split(o.outputs[0])
	return dir + ".rollcall-" + name + ".secret"
}

// inFile gives the secret that the configuration itself holds; "" if it holds none.
func (o *options) inFile() string {
	if o.secret == "" || o.balancer.Members != o.secret {
		return ""
	}
	key, _ := o.balancer.ApacheKey() // the rest of it is in paths
	return key
}

// membersSocket is where HAProxy listens for changes of its members, beside where it
// tells its generation.
func membersSocket(control string) string {
	return strings.TrimSuffix(control, ".sock") + "-members.sock"
}

// secretDigits are hexadecimal.
const secretDigits = 32

// secret reads a secret that only its owner may read, so that another start makes the
// same configuration. Without create, for one that is only shown, there need not be one.
func secret(path string, create bool) (string, error) {
	content, err := os.ReadFile(path)
	if info, statErr := os.Lstat(path); statErr == nil && !private(info) {
		content = nil // others may know it
	}
	if s := strings.TrimSpace(string(content)); err == nil && len(s) == secretDigits && strings.Trim(s, "0123456789abcdef") == "" {
		return s, nil
	}
	switch {
	case !create:
		return strings.Repeat("0", secretDigits), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	random := make([]byte, secretDigits/2)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
	s := hex.EncodeToString(random)
	// Not into what is there: somebody else may have it open, or have put a link there.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(s + "\n")
	return s, errors.Join(err, f.Close())
}

// private says that a file is this user's alone.
func private(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0 && int(stat.Uid) == os.Geteuid()
}
