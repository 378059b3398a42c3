package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/policy/source"
)

// load compiles the text of one file.
func load(t testing.TB, text string) *Set {
	t.Helper()
	s, err := Load([]File{{Name: "r.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rules returns a file with one rule of the given condition.
func withCondition(when string) string {
	return "version: 1\ndefault: allow\nlists: {admins: [alice, \"system:serviceaccount:ci:*\"]}\nvalues: {many: 3, soon: 5m}\n" +
		"rules:\n  - id: r\n    effect: alert\n    severity: low\n    when: " + when + "\n"
}

// What is wrong is said with its place, and with what to write instead.
func TestErrorsHaveAPlaceAndASuggestion(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown field", withCondition(`session.target.namespce == "prod"`),
			`r.yaml:9:25: rule r: unknown field "namespce" of Target (did you mean "namespace"?)`},
		{"field of a process", withCondition(`session.processes.exists(p, p.exee == "x")`),
			`r.yaml:9:40: rule r: unknown field "exee" (did you mean "exe"?)`},
		{"wrong type", withCondition(`session.tty == "yes"`),
			`r.yaml:9:23: rule r: == does not go with (bool, string) (compare and call with values of one type)`},
		{"half an operator", withCondition(`session.kind = "exec"`),
			`r.yaml:9:24: rule r: "=" is no operator (write ==)`},
		{"half an and", withCondition(`session.tty & session.kind == "exec"`),
			`r.yaml:9:23: rule r: "&" is no operator (write &&)`},
		{"not a condition", withCondition(`session.kind`),
			`r.yaml:9:11: rule r: a condition is true or false, this one is string`},
		{"later than the request", withCondition(`request.exit_code == 0`),
			`r.yaml:9:18: rule r: a request has no "exit_code": it is known only when the command has run (write session.exit_code)`},
		{"unknown list", withCondition(`session.actor.user in lists.admin`),
			`r.yaml:9:38: rule r: no "admin" among the lists (did you mean "admins"?)`},
		{"unknown variable", withCondition(`sesion.tty`),
			`r.yaml:9:11: rule r: unknown name "sesion" (did you mean "session"?)`},
		{"literal block", withCondition("|\n      session.tty &&\n      session.knd == \"exec\""),
			`r.yaml:11:14: rule r: unknown field "knd" of Session (did you mean "kind"?)`},
		{"no such value", withCondition(`session.kind == "exce"`),
			`r.yaml:9:27: rule r: session.kind is never "exce" (did you mean "exec"?)`},
		{"no such channel", withCondition(`session.channel in ["DK-EXEC", "DK-RUNN"]`),
			`r.yaml:9:42: rule r: session.channel is never "DK-RUNN" (did you mean "DK-RUN"?)`},
		{"never on the channel", withCondition(`session.channel == "DK-EXEC" && session.target.namespace == "prod"`),
			`r.yaml:9:57: rule r: session.target.namespace is never known on DK-EXEC`},
		{"never at all", withCondition(`session.kind == "exec" && session.kind == "attach"`),
			`r.yaml:9:11: rule r: the condition can never hold`},
		{"bad pattern", withCondition(`session.command.matches("(")`),
			"r.yaml:9:35: rule r: invalid matches argument"},
		{"unknown key", "version: 1\ndefault: allow\nrules:\n  - id: r\n    efect: alert\n    when: session.tty\n",
			"r.yaml:4:5: rule r: no effect (allow, deny, approve, record or alert)\nr.yaml:5:5: unknown key \"efect\" (did you mean \"effect\"?)"},
		{"no effect", "version: 1\ndefault: allow\nrules:\n  - id: r\n    when: session.tty\n",
			`r.yaml:4:5: rule r: no effect (allow, deny, approve, record or alert)`},
		{"no default", "version: 1\n", "r.yaml: no file says what holds when no rule decides (write `default: allow` or `default: deny` in one of them)"},
		{"technique", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: alert, severity: low, when: session.tty, attack: [T16099]}\n",
			`r.yaml:4:70: rule r: no technique "T16099" in the vocabulary (did you mean "T1609"?)`},
		{"field of what is of the host", withCondition(`session.target.host_access.priviledged`),
			`r.yaml:9:37: rule r: unknown field "priviledged" of HostAccess (did you mean "privileged"?)`},
		{"witness", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: alert, severity: low, blind: {witnesses: [audti], after: 5m}}\n",
			`r.yaml:4:62: rule r: no witness "audti" (did you mean "audit"?)`},
		{"blind for how long", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: alert, severity: low, blind: {witnesses: [audit]}}\n",
			`r.yaml:4:50: rule r: say how long a witness may be down, or that records are lost (after: 5m, or lost: true)`},
		{"blind denial", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: deny, severity: low, blind: {witnesses: [audit], lost: true}}\n",
			`r.yaml:4:5: rule r: a rule about witnesses can only alert`},
		{"blind condition", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: alert, severity: low, when: session.tty, blind: {witnesses: [audit], lost: true}}\n",
			`r.yaml:4:69: rule r: a rule about witnesses asks nothing of sessions (write a rule of its own)`},
		{"blind message", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: alert, severity: low, message: \"{{.Session.ID}}\", blind: {witnesses: [audit], lost: true}}\n",
			`r.yaml:4:52: rule r: message:1:10: executing "message"`},
		{"two ids", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: record, when: session.tty}\n  - {id: r, effect: record, when: session.tty}\n",
			`r.yaml:5:10: rule r: there is another rule of this id in r.yaml:4`},
		{"message", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: record, when: session.tty, message: \"{{.Sesion.ID}}\"}\n",
			`r.yaml:4:57: rule r: message:1:9: executing "message" at <.Sesion.ID>: can't evaluate field Sesion in type policy.Subject`},
		{"alias", "version: 1\ndefault: &d allow\nlists: {x: *d}\n", "r.yaml:3:12: aliases, merge keys and deep nesting are not read (write it out)"},
		{"two documents", "version: 1\n---\nversion: 1\n", "r.yaml: not one YAML document: expected single document, found multiple"},
		{"not YAML in a range", "rules:\n  - id: x\n   when: y\n", "r.yaml:3:4: not YAML: did not find expected '-' indicator"},
		{"not YAML", "a: [\n", "r.yaml:2:1: not YAML: did not find expected node content"},
		{"allow the unknown", "version: 1\ndefault: deny\nrules:\n  - {id: r, effect: allow, when: session.tty, unknown: match}\n",
			"r.yaml:4:56: rule r: a rule cannot allow what it cannot tell (ask with has() what must be known)"},
		{"suppression", "version: 1\ndefault: allow\nsuppressions:\n  - {rule: r, owner: a, reason: b, expires: 2027-01-01, workload: w}\n",
			"r.yaml:4:5: a suppression without actor"},
		{"deny a count", "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: deny, severity: low, when: session.tty, count: {by: session.command, at_least: 3, within: 5m}}\n",
			"r.yaml:4:5: rule r: what happened before can only alert"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load([]File{{Name: "r.yaml", Data: []byte(c.text)}})
			var errs source.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("error %v", err)
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

// Everything that is wrong is said at once.
func TestAllErrorsAreSaid(t *testing.T) {
	_, err := Load([]File{
		{"a.yaml", []byte("version: 1\ndefault: allow\nrules:\n  - {id: a, effect: record, when: session.x}\n  - {id: b, effect: record, when: session.y}\n")},
		{"b.yaml", []byte("version: 1\ndefault: deny\n")},
	})
	var errs source.Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range errs {
		got = append(got, e.File+" "+e.Rule)
	}
	if diff := cmp.Diff([]string{"a.yaml a", "a.yaml b", "b.yaml "}, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
}
