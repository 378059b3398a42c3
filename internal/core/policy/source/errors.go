// Package source reads the files that people write for package policy, rules and
// rule tests, and says what is wrong with them: at which place, and what to write
// instead.
//
// They are YAML of a kind that reads the same to everybody: no aliases, no merge
// keys, no unknown or repeated keys. A file is read to its end, so that a person
// sees all mistakes at once. The package knows no rules.
package source

import (
	"fmt"
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

// OrNil returns e as an error, nil when nothing is wrong.
func (e Errors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
