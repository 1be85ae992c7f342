package cli

import (
	"cmp"
	"runtime/debug"
	"strings"
)

// release is the version that `make package` gives, where no tag may say it to the go
// command. A variable is all that the linker can set (-X), and only the linker does.
var release string //nolint:gochecknoglobals // written by the linker, never by the program

// Version says what this program was built from: the release or the module's version, the
// commit and whether the working tree was clean, and the Go version, as far as
// the go command wrote them into the binary.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return version(release, info)
}

func version(release string, info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	number := cmp.Or(release, info.Main.Version)
	if number == "" || number == "(devel)" {
		number = "devel"
	}
	var details []string
	if revision := settings["vcs.revision"]; revision != "" {
		details = append(details, "commit "+revision[:min(12, len(revision))])
	}
	if settings["vcs.modified"] == "true" {
		details = append(details, "modified")
	}
	details = append(details, info.GoVersion)
	if settings["GOOS"] != "" {
		details = append(details, settings["GOOS"]+"/"+settings["GOARCH"])
	}
	return number + " (" + strings.Join(details, ", ") + ")"
}
