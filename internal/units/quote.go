package units

import (
	"fmt"
	"strings"
)

// Quote gives a text as one word of a command line in a unit (systemd.service(5), "Command
// lines"): nothing of it is a specifier, a variable, a quote or the end of a command.
func Quote(text string) string {
	text = strings.NewReplacer("%", "%%", "$", "$$").Replace(text)
	// At the beginning of a line that goes on, # and ; would begin a comment.
	if text != "" && !strings.ContainsFunc(text, needsQuotes) && text[0] != '#' && text[0] != ';' {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func needsQuotes(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\`, r) }

// quoteAll quotes each of several words.
func quoteAll(words []string) []string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return quoted
}
