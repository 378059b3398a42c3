// Package effect names what a rule does about a request or a session. It is
// pure.
package effect

import (
	"fmt"
	"slices"
)

// Effect is what a rule does. Among Allow, Deny and Approve the first rule
// that matches decides; Record and Alert accumulate.
type Effect string

// The effects.
const (
	Allow   Effect = "allow"   // the command may run
	Deny    Effect = "deny"    // it may not
	Approve Effect = "approve" // it is held until somebody says yes
	Record  Effect = "record"  // its streams are recorded
	Alert   Effect = "alert"   // a finding is made of it
)

var all = []Effect{Allow, Deny, Approve, Record, Alert}

// Decides reports whether the effect says if a command may run.
func (e Effect) Decides() bool { return e == Allow || e == Deny || e == Approve }

// Parse returns the effect of that name.
func Parse(s string) (Effect, error) {
	if e := Effect(s); slices.Contains(all, e) {
		return e, nil
	}
	return "", fmt.Errorf("unknown effect %q", s)
}
