package sigma

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/nearest"
)

// parser reads a condition: words, parentheses, and, or, not, "N of NAME".
type parser struct {
	t          *translator
	node       *yaml.Node
	selections map[string]*expr
	names      []string // in the order of the text
	used       map[string]bool

	words  []word
	next   int
	depth  int
	failed bool
}

type word struct {
	text string
	at   int // bytes into the condition
}

// Bounds of a condition.
const (
	nestingMax = 16
	wordsMax   = 500
	choicesMax = 100
)

func (p *parser) parse() *expr {
	p.used = map[string]bool{}
	p.words = words(p.node.Value)
	if len(p.words) > wordsMax {
		p.errorf(word{}, "", "a condition of more than %d words", wordsMax)
		return nil
	}
	e := p.or()
	if w, more := p.peek(); more && !p.failed {
		if w.text == "|" {
			p.errorf(w, "write it as a rule with `count:` or `sequence:` (docs/guide/rules.md)", "what follows | is not supported: it is about several events")
		} else {
			p.errorf(w, "", "unexpected %q", w.text)
		}
	}
	if p.failed {
		return nil
	}
	return e
}

// words splits a condition. Parentheses and | are words of their own.
func words(s string) []word {
	var out []word
	start := -1
	end := func(i int) {
		if start >= 0 {
			out = append(out, word{s[start:i], start})
			start = -1
		}
	}
	for i, c := range s {
		switch {
		case strings.ContainsRune("()|", c):
			end(i)
			out = append(out, word{string(c), i})
		case strings.ContainsRune(" \t\r\n", c):
			end(i)
		case start < 0:
			start = i
		}
	}
	end(len(s))
	return out
}

// errorf says the first thing that is wrong: what follows it is noise.
func (p *parser) errorf(w word, suggestion, format string, args ...any) {
	if !p.failed {
		p.t.errorf(p.node, w.at, suggestion, format, args...)
	}
	p.failed = true
}

func (p *parser) peek() (word, bool) {
	if p.next < len(p.words) {
		return p.words[p.next], true
	}
	return word{at: len(p.node.Value)}, false
}

// accept reads a word of the language, in any case, when it is the next.
func (p *parser) accept(text string) bool {
	if w, ok := p.peek(); ok && strings.EqualFold(w.text, text) {
		p.next++
		return true
	}
	return false
}

func (p *parser) or() *expr {
	all := []*expr{p.and()}
	for !p.failed && p.accept("or") {
		all = append(all, p.and())
	}
	return p.join(or, all)
}

func (p *parser) and() *expr {
	all := []*expr{p.unary()}
	for !p.failed && p.accept("and") {
		all = append(all, p.unary())
	}
	return p.join(and, all)
}

// join is joined of expressions of which some may be missing, because something
// is wrong with them.
func (p *parser) join(o op, all []*expr) *expr {
	for _, e := range all {
		if e == nil {
			return nil
		}
	}
	return joined(o, all)
}

func (p *parser) unary() *expr {
	if p.depth++; p.depth > nestingMax {
		w, _ := p.peek()
		p.errorf(w, "", "nested too deep")
	}
	defer func() { p.depth-- }()
	w, ok := p.peek()
	switch {
	case p.failed:
		return nil
	case !ok:
		p.errorf(w, "", "the condition ends too early")
		return nil
	case p.accept("not"):
		if e := p.unary(); e != nil {
			return negated(e)
		}
		return nil
	case p.accept("("):
		e := p.or()
		if !p.failed && !p.accept(")") {
			p.errorf(w, "", "a parenthesis that is not closed")
		}
		return e
	}
	p.next++
	if p.accept("of") {
		return p.some(w)
	}
	return p.selection(w)
}

// selection is the name of one selection.
func (p *parser) selection(w word) *expr {
	e, ok := p.selections[w.text]
	switch {
	case strings.ContainsAny(w.text, ")|*") || strings.EqualFold(w.text, "and") || strings.EqualFold(w.text, "or") || strings.EqualFold(w.text, "of"):
		p.errorf(w, "", "unexpected %q", w.text)
	case !ok:
		p.errorf(w, nearest.Suggestion(w.text, p.known()), "there is no selection %q", w.text)
	}
	p.used[w.text] = true
	return e
}

// some is "N of NAME", where N may be all and NAME may be them or have wildcards.
func (p *parser) some(many word) *expr {
	w, ok := p.peek()
	if !ok || strings.ContainsAny(w.text, "()|") {
		p.errorf(w, "for example `1 of selection_*`", "of what?")
		return nil
	}
	p.next++
	names := p.named(w.text)
	if len(names) == 0 {
		p.errorf(w, nearest.Suggestion(w.text, p.known()), "there is no selection %q", w.text)
		return nil
	}
	var all []*expr
	for _, name := range names {
		p.used[name] = true
		all = append(all, p.selections[name])
	}
	switch strings.ToLower(many.text) {
	case "all":
		return p.join(and, all)
	case "any", "1":
		return p.join(or, all)
	}
	n, err := strconv.Atoi(many.text)
	switch {
	case err != nil || n < 1:
		p.errorf(many, "", "%q of: want a number or all", many.text)
		return nil
	case n > len(all):
		p.errorf(many, "", "%d of %d selections", n, len(all))
		return nil
	}
	var each []*expr
	for _, c := range choices(all, n) {
		each = append(each, p.join(and, c))
	}
	if len(each) > choicesMax {
		p.errorf(many, "", "more than %d ways to choose %d of %d selections", choicesMax, n, len(all))
		return nil
	}
	return p.join(or, each)
}

// choices returns the ways to choose n of all, and one more than choicesMax when
// there are more.
func choices(all []*expr, n int) [][]*expr {
	if n == 0 {
		return [][]*expr{nil}
	}
	var out [][]*expr
	for i := 0; i+n <= len(all) && len(out) <= choicesMax; i++ {
		for _, rest := range choices(all[i+1:], n-1) {
			out = append(out, append([]*expr{all[i]}, rest...))
		}
	}
	return out
}
