package policy

import (
	"errors"
	"testing"

	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

// FuzzLoad: whatever a file of rules holds, it is either a set that can be asked
// or refused with places.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(withCondition(`session.target.namespace == "prod" && has(session.actor.user)`)))
	f.Add([]byte(withCondition("|\n      session.argv.exists(a, a.matches('^x')) ||\n      session.processes.all(p, p.exe in lists.admins)")))
	f.Add([]byte(fanOut))
	f.Add([]byte(steps))
	f.Add([]byte(benchRules(4)))
	f.Add([]byte("version: 1\ndefault: deny\nrules:\n  - {id: r, effect: [approve, record], severity: high, when: true, message: '{{.Session.Actor.User}}'}\n" +
		"suppressions:\n  - {rule: r, owner: o, reason: x, expires: 2026-11-02, actor: a, workload: w, argv_hash: aa}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Load([]File{{"r.yaml", data}})
		var errs source.Errors
		if err != nil {
			if !errors.As(err, &errs) {
				t.Fatalf("%T: %v", err, err)
			}
			for _, e := range errs {
				if e.File == "" || e.Message == "" || e.Line < 0 || e.Column < 0 {
					t.Fatalf("%+v", e)
				}
			}
			return
		}
		for _, s := range []session.Session{exec("ann"), exec("", nobody, docker), exec("", either("ann", "bob"), processes("sh", "ls"))} {
			if d := set.Decide(&s); d.Effect == "" {
				t.Fatalf("no decision: %+v", d)
			}
			e := NewEngine(set)
			e.Observe(s)
			e.Flush()
		}
		set.Lint()
	})
}
