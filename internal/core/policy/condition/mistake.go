package condition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/policy/field"
)

// Mistake is something that is wrong with an expression.
type Mistake struct {
	Line, Column int // in its text, as CEL counts: from 1 and from 0; line 0 when all of it is meant
	Message      string
	Hint         string // what to write instead, "" when there is none
}

// whole is a mistake of all of an expression.
func whole(format string, args ...any) []Mistake {
	return []Mistake{{Message: fmt.Sprintf(format, args...)}}
}

// check parses and type-checks an expression.
func (l *Language) check(text string) (*cel.Ast, []Mistake) {
	if strings.TrimSpace(text) == "" {
		return nil, whole("want an expression")
	}
	if len(text) > conditionMax {
		return nil, whole("more than %d bytes", conditionMax)
	}
	checked, issues := l.env.Compile(text)
	if issues == nil || issues.Err() == nil {
		return checked, nil
	}
	var out []Mistake
	for _, e := range issues.Errors() {
		message, hint := l.explain(text, e.Message)
		m := Mistake{e.Location.Line(), e.Location.Column(), message, hint}
		if halfOperator.MatchString(e.Message) {
			return nil, []Mistake{m} // what follows is not understood because of it
		}
		out = append(out, m)
	}
	return nil, out
}

var (
	undefinedField     = regexp.MustCompile(`^undefined field '(.*)'$`)
	undeclared         = regexp.MustCompile(`^undeclared reference to '(.*?)'`)
	halfOperator       = regexp.MustCompile(`^Syntax error: token recognition error at: '([=&|])[^=&|]*'$`)
	noMatchingOverload = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)
)

// explain turns what the library says into what a writer of rules can use.
func (l *Language) explain(text, message string) (string, string) {
	if m := undefinedField.FindStringSubmatch(message); m != nil {
		return l.explainField(text, m[1])
	}
	if m := undeclared.FindStringSubmatch(message); m != nil {
		known := []string{"session", "request", "lists", "values", "has", "size", "like", "ilike", "commandLike", "within", "basename"}
		return fmt.Sprintf("unknown name %q", m[1]), nearest.Suggestion(m[1], known)
	}
	if m := halfOperator.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%q is no operator", m[1]), "write " + m[1] + m[1]
	}
	if m := noMatchingOverload.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s does not go with %s", strings.Trim(m[1], "_@"), m[2]), "compare and call with values of one type"
	}
	return message, ""
}

// explainField finds in whose fields a name was looked for.
func (l *Language) explainField(text, name string) (string, string) {
	for chain := range chains(text) {
		typ, rest := variables[chain[0]], chain[1:]
		for typ != "" && len(rest) > 0 {
			f, ok := l.types.types[typ][rest[0]]
			if !ok && rest[0] == name {
				return l.noField(typ, chain[0], name)
			}
			if !ok {
				break
			}
			typ, rest = f.Type.TypeName(), rest[1:]
		}
	}
	var all []string
	for _, t := range []string{"Process", "Program", "Evidence", "Actor", "Identity", "Carried", "HostAccess", "Settings"} {
		all = append(all, l.types.fields[t]...)
	}
	return fmt.Sprintf("unknown field %q", name), nearest.Suggestion(name, all)
}

// variables has the types of variables by their names.
var variables = map[string]string{
	"session": field.SessionType.TypeName(), "request": field.RequestType.TypeName(),
	"lists": field.ListsType.TypeName(), "values": field.ValuesType.TypeName(),
}

func (l *Language) noField(typ, variable, name string) (string, string) {
	known := l.types.fieldNames(typ)
	if typ == field.RequestType.TypeName() && slices.Contains(l.types.fields[field.SessionType.TypeName()], name) {
		return fmt.Sprintf("a request has no %q: it is known only when the command has run", name), "write session." + name
	}
	if typ == field.ListsType.TypeName() || typ == field.ValuesType.TypeName() {
		hint := nearest.Suggestion(name, known)
		if hint == "" {
			hint = fmt.Sprintf("set it under `%s:` in one of the files", variable)
		}
		return fmt.Sprintf("no %q among the %s", name, variable), hint
	}
	return fmt.Sprintf("unknown field %q of %s", name, typ), nearest.Suggestion(name, known)
}

var chainText = regexp.MustCompile(`[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)+`)

// chains yields the chains of names in a text that could not be compiled.
func chains(text string) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		for _, c := range chainText.FindAllString(text, -1) {
			parts := strings.Split(c, ".")
			for i := range parts {
				parts[i] = strings.TrimSpace(parts[i])
			}
			if !yield(parts) {
				return
			}
		}
	}
}
