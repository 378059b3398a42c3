package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a file of rules or of tests.
type Error struct {
	File         string
	Line, Column int    // from 1; 0 when the whole file is meant
	Rule         string // id, "" outside rules
	Message      string
	Suggestion   string // what to write instead, "" when there is none
}

// Error implements error: "FILE:LINE:COLUMN: rule ID: MESSAGE".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Rule != "" {
		fmt.Fprintf(&b, "rule %s: ", e.Rule)
	}
	b.WriteString(e.Message)
	if e.Suggestion != "" {
		fmt.Fprintf(&b, " (%s)", e.Suggestion)
	}
	return b.String()
}

// Errors is everything that is wrong, in the order of files and lines.
type Errors []*Error

// Error implements error, one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap implements what errors.Is and errors.As need.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, x := range e {
		out[i] = x
	}
	return out
}

// orNil returns e as an error, nil when nothing is wrong.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// closest suggests the one of the known names that is nearest to a name that is
// not known, by edit distance; "" when none is near.
func closest(name string, known []string) string {
	best, least := "", 1+max(1, len(name)/3)
	for _, k := range slices.Sorted(slices.Values(known)) {
		if strings.EqualFold(k, name) {
			return k
		}
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, remove, replace or swap with the
// next one (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := last[j]
			if a[i] != b[j] {
				cost++
			}
			row[j+1] = min(cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// didYouMean returns a suggestion, or the list of what is known when that is
// short.
func didYouMean(name string, known []string) string {
	if c := closest(name, known); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	if len(known) > 0 && len(known) <= 20 {
		return "known: " + strings.Join(known, ", ")
	}
	return ""
}
