package ruletest

import (
	"errors"
	"os"
	"testing"

	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

const rule = `
version: 1
default: allow
lists: {admins: [alice]}
rules:
  - {id: r, effect: alert, severity: low, when: session.kind == "exec"}
`

// FuzzTests: whatever a file of rule tests holds, it is run or refused with places.
func FuzzTests(f *testing.F) {
	rules := []policy.File{{Name: "r.yaml", Data: []byte(rule)}}
	f.Add([]byte("version: 1\ntests:\n  - name: a\n    session: {channel: DK-EXEC, argv: [sh], processes: [{pid: 1, argv: [x]}]}\n    findings: [r]\n"))
	f.Add([]byte("version: 1\nlists: {admins: [x]}\nrules: [r]\ntests:\n  - {name: a, request: {channel: DK-EXEC}, decision: allow, rule: \"\"}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		none := func(string) ([]session.Session, error) { return nil, os.ErrNotExist }
		_, err := Run(rules, []policy.File{{Name: "r.test.yaml", Data: data}}, none)
		var errs source.Errors
		if err != nil && !errors.As(err, &errs) {
			t.Fatalf("%T: %v", err, err)
		}
	})
}
