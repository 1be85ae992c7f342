package cli

import (
	"runtime/debug"
	"strings"
)

// Version says what this program was built from: the module's version, the
// commit and whether the working tree was clean, and the Go version, as far as
// the go command wrote them into the binary.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return version(info)
}

func version(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	number := info.Main.Version
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
