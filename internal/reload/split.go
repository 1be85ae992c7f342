package reload

import (
	"errors"
	"fmt"
	"strings"
)

// SplitCommand splits a command line into a command and its arguments as a shell
// would, with quotes and backslashes, and does nothing else that a shell does: no
// variables, no patterns, no pipes.
func SplitCommand(line string) ([]string, error) {
	var argv []string
	var word []byte
	inWord, escaped := false, false
	var quote byte // the one that is open
	for _, b := range []byte(line) {
		switch {
		case b == 0:
			return nil, fmt.Errorf("command %q holds a NUL", line)
		case escaped:
			if quote == '"' && !strings.ContainsRune("\\\"$`\n", rune(b)) {
				word = append(word, '\\') // between double quotes it stands for itself before others
			}
			if b != '\n' { // or else the line goes on
				word, inWord = append(word, b), true
			}
			escaped = false
		case b == '\\' && quote != '\'':
			escaped = true
		case b == quote:
			quote = 0
		case quote != 0:
			word = append(word, b)
		case b == '"' || b == '\'':
			quote, inWord = b, true
		case strings.ContainsRune(" \t\r\n", rune(b)):
			if inWord {
				argv = append(argv, string(word))
			}
			word, inWord = nil, false
		default:
			word, inWord = append(word, b), true
		}
	}
	switch {
	case quote != 0:
		return nil, fmt.Errorf("command %q: %c is opened and not closed", line, quote)
	case escaped:
		return nil, fmt.Errorf("command %q ends with a backslash", line)
	case inWord:
		argv = append(argv, string(word))
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("command is empty")
	}
	return argv, nil
}
