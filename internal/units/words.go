package units

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// A command is one command of an Exec line, less its quotes. Specifiers and variables
// are as they were written.
type command struct {
	entry    Entry
	prefix   string // of -@:+! what stood before the program
	words    []string
	warnings []string // escapes that systemd does not know
}

// program gives the name of the program without its directory.
func (c *command) program() string {
	if len(c.words) == 0 {
		return ""
	}
	return path.Base(c.words[0])
}

// commands splits an Exec line into commands, as systemd.service(5) has it.
func commands(e Entry) ([]*command, error) {
	var all []*command
	current := &command{entry: e}
	rest := e.Value
	for {
		rest = strings.TrimLeft(rest, " \t\n\r")
		raw := rest
		if end := strings.IndexAny(rest, " \t\n\r"); end >= 0 {
			raw = rest[:end]
		}
		switch {
		case rest == "":
			if len(current.words) > 0 {
				all = append(all, current)
			}
			return all, nil
		case raw == ";":
			rest = rest[1:]
			if len(current.words) > 0 {
				all = append(all, current)
			}
			current = &command{entry: e}
			continue
		case raw == `\;`:
			rest = rest[2:]
			current.words = append(current.words, ";")
			continue
		}
		word, after, warnings, err := firstWord(rest)
		if err != nil {
			return all, err
		}
		rest = after
		current.warnings = append(current.warnings, warnings...)
		if len(current.words) == 0 {
			program := strings.TrimLeft(word, "-@:+!|")
			current.prefix, word = word[:len(word)-len(program)], program
			if strings.Contains(current.prefix, "@") { // the next word is what the program is told it is called
				if _, after, _, err = firstWord(strings.TrimLeft(rest, " \t")); err != nil {
					return all, err
				}
				rest = after
			}
		}
		current.words = append(current.words, word)
	}
}

// firstWord takes one word off the beginning of a line, and off the word its quotes.
func firstWord(s string) (word, rest string, warnings []string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			text, n := unescape(s[i+1:])
			if n == 0 {
				if i+1 == len(s) {
					return "", "", warnings, errors.New("ends in a backslash")
				}
				warnings = append(warnings, s[i:i+2])
				text, n = s[i:i+2], 1
			}
			b.WriteString(text)
			i += n
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && strings.IndexByte(" \t\n\r", c) >= 0:
			return b.String(), s[i:], warnings, nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", warnings, fmt.Errorf("has a %c without its end", quote)
	}
	return b.String(), "", warnings, nil
}

// unescape reads what stands after a backslash, and says how many bytes that were; 0 for
// what systemd does not know (systemd.service(5), "Supported escapes").
func unescape(s string) (string, int) {
	if s == "" {
		return "", 0
	}
	const names, values = `abfnrtvs\"'`, "\a\b\f\n\r\t\v \\\"'"
	if i := strings.IndexByte(names, s[0]); i >= 0 {
		return values[i : i+1], 1
	}
	digits, base, from := 0, 16, 1
	switch c := s[0]; {
	case c == 'x':
		digits = 2
	case c == 'u':
		digits = 4
	case c == 'U':
		digits = 8
	case c >= '0' && c <= '3':
		digits, base, from = 3, 8, 0
	}
	if digits == 0 || len(s) < from+digits {
		return "", 0
	}
	n, err := strconv.ParseUint(s[from:from+digits], base, 32)
	if err != nil || n == 0 || n > 0x10ffff {
		return "", 0
	}
	if digits < 4 {
		return string([]byte{byte(n)}), from + digits
	}
	return string(rune(n)), from + digits
}
