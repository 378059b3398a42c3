// Package policy is the one language for what is to be detected and what is to
// be prevented: rules over sessions, and over requests before they run.
//
// Load checks files of rules completely and gives a Set; Set.Decide answers a
// guard; an Engine makes findings of the sessions that were seen, at most one
// for each rule and session. Conditions are CEL (cel.dev/cel-go) over the fields
// of docs/reference/session.schema.json, by the same names.
//
// A field has a value, or it is absent (known not to be there: a Docker
// container has no namespace), or it is unknown (nobody could tell who asked).
// Every question about an absent field is answered with no; a question about an
// unknown field has no answer, and the condition has none either, unless the
// rest of it decides. Rule.Unknown says what a rule does then. has() asks
// whether a field has a value, and always has an answer itself.
//
// A condition that cannot be evaluated, for example because it would cost more
// than it may, is taken to hold, except that it allows nothing.
//
// What it is made of: package source reads the files with their places, condition
// compiles what a rule asks and asks it, field has what can be asked about, window
// remembers sessions for counts and sequences, sigma translates Sigma's rules, key
// names what suppressions are keyed on. Beside it, ruletest runs the tests of rules
// and backtest plays kept sessions to them.
//
// The package is pure: time comes with the sessions.
package policy
