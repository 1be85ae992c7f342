package reload

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// FindProgram gives the path of the first of the named programs that is
// installed. Servers live where a user's PATH often does not lead.
func FindProgram(names ...string) (string, error) {
	for _, name := range names {
		for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin", "/usr/local/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("find %s: not in PATH nor in /usr/sbin (hint: is it installed?)", strings.Join(names, " or "))
}
