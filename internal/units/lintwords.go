package units

import (
	"regexp"
	"slices"
	"strings"
)

// checkWords looks at what systemd makes of the words of command lines: quotes, escapes,
// specifiers and variables.
func (s *subject) checkWords() {
	for _, e := range s.entries {
		switch {
		case e.Section == "Service" && strings.HasPrefix(e.Name, "Exec") && e.Name != "ExecSearchPath":
			split, err := commands(e.Entry)
			if err != nil {
				s.find(e, "", "%s= %s, and systemd ignores it", e.Name, err)
			}
			for _, c := range split {
				s.checkCommand(e, c)
			}
		case e.Name == "Environment" || e.Name == "Description" || e.Name == "EnvironmentFile":
			s.checkSpecifiers(e, e.Value)
		}
		if e.Section == "Service" && e.Name == "EnvironmentFile" && e.Value != "" && e.Value[0] != '-' {
			s.find(e, "EnvironmentFile=-"+e.Value, "the unit cannot start where %s is missing", e.Value)
		}
	}
}

func (s *subject) checkCommand(e located, c *command) {
	for _, w := range c.warnings {
		s.find(e, `a backslash itself is written \\`, "systemd knows no escape %s", w)
	}
	for _, w := range c.words {
		s.checkSpecifiers(e, w)
	}
	if strings.Contains(c.prefix, ":") { // which turns variables off
		return
	}
	script, isShell := c.script()
	for i, w := range c.words {
		switch {
		case i == 0 || !strings.Contains(w, "$"):
		case isShell && w == script:
			s.checkScript(e, w)
		default:
			s.checkVariables(e, w)
		}
		if strings.Contains(w, "${") {
			s.checkBraces(e, w)
		}
	}
}

// checkSpecifiers looks for per cent signs that mean something else than what was meant.
func (s *subject) checkSpecifiers(e located, text string) {
	const known = "aAbBCdDEfgGhHiIjJlLmMnNopPqsStTuUvVwWyY%"
	dates := strings.Contains(text, "+%") || strings.Contains(text, "date ") && strings.Contains(text, "%Y")
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		if i+1 == len(text) || strings.IndexByte(known, text[i+1]) < 0 {
			s.find(e, "write %% for a per cent sign", "%.3q is no specifier of systemd's", text[i:])
		} else if dates && text[i+1] != '%' {
			s.find(e, "write %% for a per cent sign", "systemd replaces %s before the command sees it", text[i:i+2])
		}
		i++
	}
}

// checkVariables looks at a word of a command that is run without a shell.
func (s *subject) checkVariables(e located, w string) {
	w = strings.ReplaceAll(w, "$$", "")
	name := w[strings.IndexByte(w, '$')+1:]
	bare := name[:len(name)-len(strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))]
	switch {
	case !strings.Contains(w, "$") || !isVariable(bare):
	case w[0] != '$':
		s.find(e, "write ${"+bare+"}, or $$ for a dollar sign", "systemd leaves $%s in the middle of a word as it is", bare)
	case bare != name:
		s.find(e, "write ${"+bare+"}", "systemd takes %q for a variable's name", name)
	case name == "MAINPID": // one word; none where nothing runs, which is what kill should hear
	case !regexp.MustCompile(`(?i)(ARGS|OPTS|OPTIONS|FLAGS|ARGUMENTS|PARAMS)$`).MatchString(name):
		s.find(e, "write ${"+name+"}; a variable that holds several words is better called "+name+"_ARGS",
			"the value of $%s is split at blanks, and is no word at all when it is empty", name)
	}
}

// checkScript looks at what systemd does to a script before a shell sees it.
func (s *subject) checkScript(e located, script string) {
	for _, m := range regexp.MustCompile(`(^|[^$])\$\{(\w+)\}`).FindAllStringSubmatch(script, -1) {
		own := regexp.MustCompile(`(^|[\s;&|(])(` + m[2] + `=|(for|read|export|local)\s+` + m[2] + `\b)`)
		if own.MatchString(script) {
			s.find(e, "write $"+m[2]+" or $${"+m[2]+"}", "systemd replaces ${%s} before the shell sets it", m[2])
		}
	}
}

// checkBraces looks for what shells do with braces and systemd does not.
func (s *subject) checkBraces(e located, w string) {
	for _, m := range regexp.MustCompile(`(^|[^$])\$\{([^}]*)\}`).FindAllStringSubmatch(w, -1) {
		if !isVariable(m[2]) && !slices.Contains([]string{"*", "@", "#"}, m[2]) {
			s.find(e, "in a shell's script write $${"+m[2]+"}", "systemd knows no ${%s}, and replaces it by nothing", m[2])
		}
	}
}
