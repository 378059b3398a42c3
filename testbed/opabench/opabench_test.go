// Package opabench compares decisions of internal/core/policy with Open Policy
// Agent's, over the same rules and sessions in the same run. It is a module of its
// own so that OPA is no dependency of the product.
package opabench

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// rule is one rule in both languages.
type rule struct{ cel, rego string }

// kinds of rules, as people write them.
func rules(n int) []rule {
	var out []rule
	for i := range n {
		r := []rule{
			{
				`session.target.namespace == "team-%d" && session.tty && !("oncall" in session.actor.groups)`,
				`input.target.namespace == "team-%d"; input.tty; not "oncall" in input.actor.groups`,
			},
			{
				`session.kind == "exec" && session.argv[0] == "tool-%d" && !(session.actor.user in lists.admins)`,
				`input.kind == "exec"; input.argv[0] == "tool-%d"; not input.actor.user in admins`,
			},
			{
				`session.channel in ["DK-EXEC", "DK-RUN"] && session.target.image.startsWith("registry-%d/")`,
				`input.channel in {"DK-EXEC", "DK-RUN"}; startswith(input.target.image, "registry-%d/")`,
			},
			{
				`session.kind == "exec" && session.target.namespace == "prod" && session.command.matches("^(nc|ncat) .*-e.* %d$")`,
				`input.kind == "exec"; input.target.namespace == "prod"; regex.match("^(nc|ncat) .*-e.* %d$", input.command)`,
			},
		}[i%4]
		out = append(out, rule{fmt.Sprintf(r.cel, i), fmt.Sprintf(r.rego, i)})
	}
	return append(out, rule{
		`session.kind == "exec" && session.argv[0] == "sh" && session.actor.user == "eve"`,
		`input.kind == "exec"; input.argv[0] == "sh"; input.actor.user == "eve"`,
	})
}

func load(b *testing.B, all []rule) *policy.Set {
	var text strings.Builder
	text.WriteString("version: 1\ndefault: allow\nlists: {admins: [alice, bob]}\nrules:\n")
	for i, r := range all {
		fmt.Fprintf(&text, "  - {id: r%d, effect: deny, severity: high, when: %q}\n", i, r.cel)
	}
	set, err := policy.Load([]policy.File{{Name: "r.yaml", Data: []byte(text.String())}})
	if err != nil {
		b.Fatal(err)
	}
	return set
}

func prepare(b *testing.B, all []rule) rego.PreparedEvalQuery {
	var text strings.Builder
	text.WriteString("package p\n\nadmins := {\"alice\", \"bob\"}\n\n")
	for i, r := range all {
		fmt.Fprintf(&text, "deny contains \"r%d\" if { %s }\n", i, r.rego)
	}
	q, err := rego.New(rego.Query("data.p.deny"), rego.Module("p.rego", text.String())).PrepareForEval(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return q
}

func asked(user string, change ...func(*session.Session)) session.Session {
	s := session.Session{
		ID: "aaaaaaaaaaaaaaaa", Kind: session.KindExec, Channel: event.ChannelKubeExecWS, State: session.StateEnded,
		Started: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC), Attribution: session.Attribution{Level: session.LevelExact},
		Actor:  session.Actor{Kind: session.ActorKubernetes, User: user, Groups: []string{"dev"}},
		Target: session.Target{Namespace: "prod", Pod: "web-0", ContainerName: "web", Image: "nginx", ContainerID: "c1"},
		Argv:   []string{"sh", "-c", "id"}, ArgvSource: "request",
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

// input returns what Rego is asked about: what a program that uses OPA makes of
// the same session.
func input(b *testing.B, s session.Session) map[string]any {
	body, err := json.Marshal(s)
	if err != nil {
		b.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		b.Fatal(err)
	}
	v["command"] = strings.Join(s.Argv, " ")
	return v
}

// BenchmarkDecide asks both. "opa" turns its input into OPA's own form for each
// question, as a program has to; "opa-parsed" leaves that out.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 50, 200} {
		all := rules(n)
		set, query := load(b, all), prepare(b, all)
		for _, c := range []struct {
			name string
			s    session.Session
			want int
		}{
			{"ruled-out", asked("ann", func(s *session.Session) { s.Kind, s.Target.Namespace = session.KindCopy, "else" }), 0},
			{"no-match", asked("ann"), 0},
			{"match", asked("eve"), 1},
		} {
			v := input(b, c.s)
			parsed, err := ast.InterfaceToValue(v)
			if err != nil {
				b.Fatal(err)
			}
			name := fmt.Sprintf("rules=%d/%s/", n, c.name)
			b.Run(name+"sallyport", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := set.Decide(&c.s); (d.Effect == effect.Deny) != (c.want > 0) {
						b.Fatalf("%+v", d)
					}
				}
			})
			ask := func(how rego.EvalOption) func(*testing.B) {
				return func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						got, err := query.Eval(b.Context(), how)
						if err != nil {
							b.Fatal(err)
						}
						if denied := got[0].Expressions[0].Value.([]any); len(denied) != c.want {
							b.Fatalf("denied by %v", denied)
						}
					}
				}
			}
			b.Run(name+"opa", ask(rego.EvalInput(v)))
			b.Run(name+"opa-parsed", ask(rego.EvalParsedInput(parsed)))
		}
	}
}
