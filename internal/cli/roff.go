package cli

import "strings"

// roff builds a manual page in the macros of man(7).
type roff struct {
	strings.Builder
	headed bool // the last line is a heading, behind which a paragraph begins by itself
}

// escaped makes text that roff shows as it stands: its hyphens and quotes are typographic
// ones unless told otherwise, and nobody can paste those into a shell.
func escaped(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// macro writes a request with its arguments.
func (r *roff) macro(name string, args ...string) {
	r.headed = name == "SH"
	r.WriteString("." + name)
	for _, arg := range args {
		r.WriteString(` "` + strings.ReplaceAll(escaped(arg), `"`, `\(dq`) + `"`)
	}
	r.WriteString("\n")
}

// line writes text that begins no request, whatever it begins with.
func (r *roff) line(text string) {
	text = escaped(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	r.headed = false
	r.WriteString(text + "\n")
}

func (r *roff) paragraph() {
	if !r.headed {
		r.macro("PP")
	}
}

// item writes a term and what it means.
func (r *roff) item(term, meaning string) {
	r.macro("TP")
	r.macro("B", term)
	r.line(meaning)
}

// verbatim writes lines as they are, less the indentation of the first.
func (r *roff) verbatim(lines []string) {
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " "))]
	r.paragraph()
	r.macro("RS", "4")
	r.macro("nf")
	for _, line := range lines {
		r.line(strings.TrimPrefix(line, indent))
	}
	r.macro("fi")
	r.macro("RE")
}

// text writes the text of a command's help: paragraphs, and blocks that are indented by
// blanks, which are lists of terms where each of their lines has two blanks in it.
func (r *roff) text(text string) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(part, "\n")
		switch {
		case part == "":
		case !strings.HasPrefix(part, "  "):
			r.paragraph()
			for _, line := range lines {
				r.line(line)
			}
		case isList(lines):
			for _, line := range lines {
				term, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
				r.item(term, strings.TrimSpace(meaning))
			}
		default:
			r.verbatim(lines)
		}
	}
}

func isList(lines []string) bool {
	for _, line := range lines {
		if !strings.Contains(strings.TrimSpace(line), "  ") {
			return false
		}
	}
	return true
}
