package templates

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/Masterminds/sprig/v3"
)

// functions lists what a template may call besides text/template's own functions:
// those of sprig (https://masterminds.github.io/sprig/) that depend on their arguments
// alone and change nothing, and a few of our own. The value that is worked on comes
// last, so that it can be piped in: {{.Name | replace "." "-" | upper}}.
// Each rendering adds sections, which it remembers.
//
// What differs from sprig: quote takes one string and quotes it as nginx, Apache and
// HAProxy read it; repeat, indent and nindent refuse to fill the memory; and where sprig
// has a function in two forms, as fromJson and mustFromJson, both report the error.
//
// This guards against accidents. Whoever may edit a template is trusted: he decides
// what the server does.
func functions() template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	for _, names := range withheld {
		for _, name := range strings.Fields(names) {
			delete(all, name)
		}
	}
	for name, f := range all {
		if short, ok := strings.CutPrefix(name, "must"); ok {
			all[strings.ToLower(short[:1])+short[1:]] = f
		}
	}
	texts := all["toStrings"].(func(any) []string)
	all["sortAlpha"] = func(list any) []string { return slices.Sorted(slices.Values(texts(list))) } // sprig's sorts what it is given
	all["quote"] = quoteArgument
	all["timespan"] = timespan
	all["seconds"] = seconds
	all["b64dec"] = decodeBase64
	all["repeat"] = repeat
	all["indent"] = indent
	all["nindent"] = func(spaces int, s string) (string, error) {
		s, err := indent(spaces, s)
		return "\n" + s, err
	}
	return all
}

// withheld are the functions of sprig that no template may call.
var withheld = []string{
	// Random, or not the same at every call.
	"randInt shuffle keys values bcrypt htpasswd encryptAES",
	"genPrivateKey genCA genCAWithKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert genSignedCertWithKey",
	// They look at the clock or the machine's time zone.
	"ago toDate mustToDate durationRound must_date_modify mustDateModify",
	// They change their argument. Without them, no value can hold itself: to print one
	// that does ends the program.
	"set unset merge mustMerge mergeOverwrite mustMergeOverwrite deepCopy mustDeepCopy",
	// They fill the memory, where {{range 1000000}} needs none.
	"until untilStep seq",
	// Slow, or for secrets, which have no place in a template.
	"derivePassword decryptAES buildCustomCert",
	// They hide an error in their result, or quote without escaping.
	"b32dec squote",
	// The same as base, clean, dir, ext and isAbs; and none that a template needs.
	"osBase osClean osDir osExt osIsAbs hello",
}

// maxRepeat is the longest text, in bytes, that repeat and indent make of their own.
const maxRepeat = 1 << 20

// repeat gives s count times.
func repeat(count int, s string) (string, error) {
	if count < 0 || len(s) > 0 && count > maxRepeat/len(s) {
		return "", fmt.Errorf("%d times %d bytes: the result may have up to %d", count, len(s), maxRepeat)
	}
	return strings.Repeat(s, count), nil
}

// indent puts spaces in front of every line of s.
func indent(spaces int, s string) (string, error) {
	lines := 1 + strings.Count(s, "\n")
	pad, err := repeat(spaces, " ")
	if err != nil || spaces > maxRepeat/lines {
		return "", fmt.Errorf("%d lines by %d spaces: up to %d may be added", lines, spaces, maxRepeat)
	}
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad), nil
}

// decodeBase64 is the inverse of sprig's b64enc.
func decodeBase64(s string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(s)
	return string(text), err
}

// timespan writes a duration as all three servers read it: "2s", "1500ms".
func timespan(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
}

// seconds gives a duration in whole seconds, rounded up: less than asked for would
// be no time at all where it is less than one.
func seconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// quoteArgument gives s as one quoted argument, in the way that nginx, Apache and
// HAProxy share: backslashes before quotes and backslashes, nothing else. None has a
// way to write a control character, so one is an error.
func quoteArgument(s string) (string, error) {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%q holds a control character and cannot be quoted", s)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}
