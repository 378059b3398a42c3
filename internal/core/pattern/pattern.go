// Package pattern compares texts with patterns in which * stands for any text,
// also none, and ? for one character, whatever the case of letters. A backslash
// before *, ? or a backslash takes its meaning away; before anything else it is
// itself. The package is pure.
package pattern

import (
	"iter"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Set is patterns of which one is enough.
type Set struct{ all []one }

// NewSet returns the set of the given patterns.
func NewSet(patterns ...string) *Set {
	s := &Set{all: make([]one, len(patterns))}
	for i, p := range patterns {
		s.all[i] = compile(p)
	}
	return s
}

// Match reports whether a text fits one of the patterns.
func (s *Set) Match(text string) bool { return s.MatchLower(strings.ToLower(text)) }

// MatchLower is Match for a text that strings.ToLower has made.
func (s *Set) MatchLower(text string) bool {
	for i := range s.all {
		if s.all[i].fits(text) {
			return true
		}
	}
	return false
}

// Stars is patterns of which one is enough, and in which * alone means anything
// but itself: the case of letters counts, too.
type Stars struct {
	exact  map[string]bool // those without a star
	others []one
}

// NewStars returns the set of the given patterns.
func NewStars(patterns ...string) *Stars {
	s := &Stars{exact: map[string]bool{}}
	for _, p := range patterns {
		if !strings.Contains(p, "*") {
			s.exact[p] = true
			continue
		}
		var o one
		for text := range strings.SplitSeq(p, "*") {
			o.parts = append(o.parts, part{text: text})
		}
		s.others = append(s.others, o)
	}
	return s
}

// Match reports whether a text fits one of the patterns.
func (s *Stars) Match(text string) bool {
	return s.exact[text] || slices.ContainsFunc(s.others, func(o one) bool { return o.fits(text) })
}

// Answer is what can be said of a text of which only the beginning is known.
type Answer int8

// The answers.
const (
	No Answer = iota
	Maybe
	Yes
)

// BeginsLower says whether a text that begins as given, and goes on, fits one of
// the patterns. The beginning is one that strings.ToLower has made; it may end
// within a character.
func (s *Set) BeginsLower(known string) Answer {
	known = strings.TrimRight(known, "\uFFFD")
	best := No
	for i := range s.all {
		best = max(best, s.all[i].begins(known))
	}
	return best
}

// one is one pattern: what stands before, between and after the stars.
type one struct{ parts []part }

// part is a text without stars.
type part struct {
	text  string // when it has no ?
	runes []rune // else; anyRune for ?
}

const anyRune rune = -1

// compile never fails: every text is a pattern.
func compile(text string) one {
	var p one
	var now []rune
	end := func() {
		p.parts = append(p.parts, newPart(now))
		now = nil
	}
	for c, wild := range signs(strings.ToLower(text)) {
		switch {
		case wild && c == "*":
			end()
		case wild:
			now = append(now, anyRune)
		default:
			now = append(now, []rune(c)...)
		}
	}
	end()
	return p
}

// signs yields the characters of a pattern, and whether each stands for others.
func signs(pattern string) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for pattern != "" {
			literal := len(pattern) > 1 && pattern[0] == '\\' && strings.IndexByte(`*?\`, pattern[1]) >= 0
			if literal {
				pattern = pattern[1:]
			}
			_, n := utf8.DecodeRuneInString(pattern)
			if !yield(pattern[:n], !literal && (pattern[0] == '*' || pattern[0] == '?')) {
				return
			}
			pattern = pattern[n:]
		}
	}
}

// Literal returns the text that alone fits a pattern, apart from the case of
// letters. False when the pattern stands for several.
func Literal(pattern string) (string, bool) {
	var b strings.Builder
	for c, wild := range signs(pattern) {
		if wild {
			return "", false
		}
		b.WriteString(c)
	}
	return b.String(), true
}

var quoting = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `\`, `\\`)

// Quote returns a pattern of which a text is the Literal.
func Quote(text string) string { return quoting.Replace(text) }

// Expression returns a regular expression of Go's that matches, with the flag s and
// between anchors, the texts that fit a pattern and have its case of letters.
func Expression(pattern string) string {
	var b strings.Builder
	for c, wild := range signs(pattern) {
		switch {
		case wild && c == "*":
			b.WriteString(".*")
		case wild:
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(c))
		}
	}
	return b.String()
}

func newPart(runes []rune) part {
	if slices.Contains(runes, anyRune) {
		return part{runes: runes}
	}
	return part{text: string(runes)}
}

// fits takes the leftmost place for each part: with * as the only wildcard of no
// fixed length, no other choice fits where that one does not.
func (p *one) fits(s string) bool {
	first, last := &p.parts[0], len(p.parts)-1
	if last == 0 {
		n, ok := first.begins(s)
		return ok && n == len(s)
	}
	n, ok := first.begins(s)
	if !ok {
		return false
	}
	s = s[n:]
	for i := 1; i < last; i++ {
		if n, ok = p.parts[i].within(s); !ok {
			return false
		}
		s = s[n:]
	}
	return p.parts[last].ends(s)
}

// begins is fits for a text that goes on.
func (p *one) begins(known string) Answer {
	last := len(p.parts) - 1
	if last > 0 && p.parts[last].empty() && p.fits(known) {
		return Yes
	}
	shorter, ok := p.parts[0].agrees(known)
	if !ok || last == 0 && !shorter {
		return No // it differs already, or would have to end and goes on
	}
	return Maybe
}

func (p *part) empty() bool { return p.text == "" && len(p.runes) == 0 }

// begins reports whether s begins with the part, and how many bytes that are.
func (p *part) begins(s string) (int, bool) {
	if p.runes == nil {
		return len(p.text), strings.HasPrefix(s, p.text)
	}
	n := 0
	for _, want := range p.runes {
		got, size := utf8.DecodeRuneInString(s[n:])
		if size == 0 || want != anyRune && want != got {
			return 0, false
		}
		n += size
	}
	return n, true
}

// agrees reports whether the part and s are the same as far as both go, and
// whether s is the shorter one.
func (p *part) agrees(s string) (shorter, ok bool) {
	runes := p.runes
	if runes == nil {
		runes = []rune(p.text)
	}
	for _, want := range runes {
		got, size := utf8.DecodeRuneInString(s)
		switch {
		case size == 0:
			return true, true
		case want != anyRune && want != got:
			return false, false
		}
		s = s[size:]
	}
	return false, true
}

// within finds the part in s and returns where it ends.
func (p *part) within(s string) (int, bool) {
	if p.runes == nil {
		i := strings.Index(s, p.text)
		return i + len(p.text), i >= 0
	}
	for i := range s {
		if n, ok := p.begins(s[i:]); ok {
			return i + n, true
		}
	}
	return 0, false
}

// ends reports whether s ends with the part.
func (p *part) ends(s string) bool {
	if p.runes == nil {
		return strings.HasSuffix(s, p.text)
	}
	from := len(s)
	for range p.runes {
		_, size := utf8.DecodeLastRuneInString(s[:from])
		if size == 0 {
			return false
		}
		from -= size
	}
	_, ok := p.begins(s[from:])
	return ok
}
