package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/testbed/cputime"
)

// benchRules returns n rules as people write them: each about a namespace, a
// channel or a kind, and then about people and commands.
func benchRules(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\ndefault: allow\nlists: {admins: [alice, \"system:serviceaccount:ci:*\"]}\nrules:\n")
	for i := range n {
		when := []string{
			`session.target.namespace == "team-%d" && session.tty && !("oncall" in session.actor.groups)`,
			`session.kind == "exec" && session.argv[0] == "tool-%d" && !session.actor.user.like(lists.admins)`,
			`session.channel in ["DK-EXEC", "DK-RUN"] && session.target.image.startsWith("registry-%d/")`,
			`session.kind == "exec" && session.target.namespace == "prod" && session.command.matches("^(nc|ncat) .*-e.* %d$")`,
		}[i%4]
		fmt.Fprintf(&b, "  - {id: r%d, effect: deny, severity: high, when: %q}\n", i, fmt.Sprintf(when, i))
	}
	return b.String()
}

// BenchmarkDecide is one decision: of a session that no rule is about, of one
// about which half of the rules have to be asked and none holds, and of one
// that the last rule denies.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1, 50, 200} {
		set := load(b, benchRules(n)+`  - {id: last, effect: deny, severity: high, when: 'session.kind == "exec" && session.argv[0] == "sh" && session.actor.user == "eve"'}`+"\n")
		for _, c := range []struct {
			name string
			s    session.Session
			want effect.Effect
		}{
			{"ruled-out", exec("ann", func(s *session.Session) { s.Kind, s.Target.Namespace = session.KindCopy, "else" }), effect.Allow},
			{"no-match", exec("ann"), effect.Allow},
			{"match", exec("eve"), effect.Deny},
		} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				before := cputime.User()
				for b.Loop() {
					if d := set.Decide(&c.s); d.Effect != c.want {
						b.Fatalf("%+v", d)
					}
				}
				b.ReportMetric(float64((cputime.User()-before).Nanoseconds())/float64(b.N), "user-ns/op")
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	text := []byte(benchRules(200))
	for b.Loop() {
		if _, err := Load([]File{{"r.yaml", text}}); err != nil {
			b.Fatal(err)
		}
	}
}
