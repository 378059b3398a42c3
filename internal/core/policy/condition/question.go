package condition

import (
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// oneOf returns the question whether a text is one of some.
func oneOf(texts []string) func(string) bool {
	if len(texts) <= 4 {
		return func(s string) bool { return slices.Contains(texts, s) }
	}
	set := make(map[string]bool, len(texts))
	for _, t := range texts {
		set[t] = true
	}
	return func(s string) bool { return set[s] }
}

// withinRanges returns the question whether an address is in one of some ranges.
func withinRanges(texts []string) (func(string) bool, error) {
	var ranges []netip.Prefix
	for _, t := range texts {
		r, err := parseRange(t)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return func(s string) bool {
		a, ok := parseAddress(s)
		return ok && slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	}, nil
}

// matches returns the question whether a regular expression matches somewhere in
// a text. Most texts are told apart by what every match contains, which is found
// many times faster.
func matches(pattern string) (func(string) bool, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if set, ok := asciiClass(tree); ok {
		return func(s string) bool {
			for i := range len(s) {
				if s[i] < 128 && set[s[i]] {
					return true
				}
			}
			return false
		}, nil
	}
	needles := required(tree.Simplify())
	if len(needles) == 0 {
		return re.MatchString, nil
	}
	return func(s string) bool {
		return slices.ContainsFunc(needles, func(n string) bool { return strings.Contains(s, n) }) && re.MatchString(s)
	}, nil
}

// needlesMax is how many texts are worth looking for.
const needlesMax = 16

// required returns texts of which every match of an expression contains one; none
// when there are no such texts.
func required(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return []string{string(re.Rune)}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if r := required(sub); shortest(r) > shortest(best) {
				best = r
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			r := required(sub)
			if len(r) == 0 || len(all)+len(r) > needlesMax {
				return nil
			}
			all = append(all, r...)
		}
		return all
	default: // nothing that can be told
	}
	return nil
}

// shortest returns the length of the shortest text, 0 for none.
func shortest(all []string) int {
	if len(all) == 0 {
		return 0
	}
	n := len(all[0])
	for _, s := range all {
		n = min(n, len(s))
	}
	return n
}

// asciiClass returns the characters of an expression that is nothing but one of
// some ASCII characters.
func asciiClass(re *syntax.Regexp) (set [128]bool, ok bool) {
	if re.Op != syntax.OpCharClass || len(re.Rune) == 0 || re.Rune[len(re.Rune)-1] >= 128 {
		return set, false
	}
	for i := 0; i < len(re.Rune); i += 2 {
		for c := re.Rune[i]; c <= re.Rune[i+1]; c++ {
			set[c] = true
		}
	}
	return set, true
}
