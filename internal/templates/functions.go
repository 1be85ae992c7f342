package templates

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"text/template"
	"unicode"
)

// functions lists what a template may call besides text/template's own functions.
// Each of them depends on its arguments alone. The value that is worked on comes
// last, so that it can be piped in: {{.Name | replace "." "-" | toUpper}}.
func functions() template.FuncMap {
	return template.FuncMap{
		"join":       func(sep string, list []string) string { return strings.Join(list, sep) },
		"split":      func(sep, s string) []string { return strings.Split(s, sep) },
		"replace":    func(old, new, s string) string { return strings.ReplaceAll(s, old, new) },
		"contains":   func(part, s string) bool { return strings.Contains(s, part) },
		"hasPrefix":  func(prefix, s string) bool { return strings.HasPrefix(s, prefix) },
		"hasSuffix":  func(suffix, s string) bool { return strings.HasSuffix(s, suffix) },
		"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
		"toUpper":    strings.ToUpper,
		"toLower":    strings.ToLower,
		"default":    orDefault,
		"quote":      quoteArgument,
		"sha256sum": func(s string) string {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		},
	}
}

// orDefault gives value, or fallback where value is what {{if}} takes for false.
func orDefault(fallback, value any) any {
	if truth, ok := template.IsTrue(value); ok && truth {
		return value
	}
	return fallback
}

// quoteArgument gives s as one quoted argument, in the way that nginx and Apache
// share: backslashes before quotes and backslashes, nothing else. Neither has a
// way to write a control character, so one is an error.
func quoteArgument(s string) (string, error) {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%q holds a control character and cannot be quoted", s)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}
