package condition

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/session"
)

// parts are conditions of every kind that has nodes of its own, and some that
// have not.
var partsOfAllKinds = append(slices.Clone(conditions),
	`session.command.contains("sh")`, `session.command.endsWith("id")`, `session.command.matches("(?s)\\b(curl|sh)\\b.*\\bid")`,
	`session.command.matches("(?i)SH")`, `session.command.matches("[\\x01-\\x1f]")`, `session.command.matches("^s?h")`,
	`session.actor.user.like(lists.admins)`, `session.actor.user.like("a*n")`, `session.actor.user.like(lists.none)`, `session.actor.user in lists.none`,
	`session.actor.user in lists.admins`, `session.actor.user in ["ann", "x"]`, `!(session.actor.user in [])`, `"ann" == session.actor.user`,
	`session.actor.address.within(["10.0.0.0/8", "::1"])`, `session.actor.address.within("no range")`, `session.actor.address.within(lists.ranges)`,
	`session.actor.user.size() > 2`, `size(session.actor.user) == 3`, `session.target.namespace.size() != 4`, `session.target.namespace != "dev"`,
	`session.argv.size() > 2`, `session.argv.size() != 3`, `size(session.argv) == 3`, `session.processes.size() >= 1`, `session.argv[7] == "x"`, `session.argv[7] != "x"`,
	`basename(session.argv[0]) == "sh"`, `basename(session.argv[0]) in lists.shells`, `basename(session.target.pod) == "web-0"`,
	`has(session.argv)`, `has(session.processes)`, `has(session.actor.impersonator)`, `has(session.actor.impersonator.user)`, `has(session.target.labels.app)`,
	`session.actor.impersonator.user.startsWith("system:")`, `"c" in session.actor.impersonator.groups`, `session.actor.impersonator.groups[0] == "c"`,
	`"system:masters" in session.api.groups`, `session.api.groups.exists(g, g == "c")`, `session.actor.extra["scopes"].exists(x, x == "all")`,
	`"all" in session.actor.impersonator.extra["scopes"]`, `session.processes[5].execs.exists(e, true)`, `session.processes[5].argv.all(a, a == "x")`,
	`session.actor.impersonator.groups.size() == 0`, `session.actor.impersonator.groups.exists(g, g == "c")`,
	`session.actor.deputy`, `session.unexplained.is`, `session.privileged`, `session.exit_code == 0`, `session.lost_records == 0`,
	`session.started.getHours() < values.many`, `session.actor.groups.exists(g, g == "admins")`, `session.actor.groups.all(g, g.startsWith("a"))`,
	`session.argv.exists(a, a == "-c")`, `session.argv.exists(a, a.contains(session.argv[0]))`, `session.argv.exists_one(a, a == "sh")`,
	`session.argv.map(a, a + "x").exists(a, a == "shx")`, `session.argv.exists(a, session.argv.exists(a, a == "-c"))`,
	`session.argv.exists(a, session.argv.exists(b, a == b && b.size() > 1))`, `["a", "b"].exists(x, x == session.actor.user)`,
	`lists.admins.exists(x, x == session.actor.user)`, `session.target.labels.exists(k, k in ["app"])`, `session.target.labels["app"] == "web"`,
	`session.programs.exists(p, basename(p.exe) in lists.shells && p.argv.size() == 1)`, `session.programs.exists(p, p.argv.exists(a, a.like(lists.admins)))`,
	`session.programs.exists(p, p.upper_layer || p.exe.like("/tmp/*"))`, `session.programs.all(p, p.argv[0] != "curl")`, `session.programs.exists(p, has(p.exe))`,
	`session.processes.exists(p, p.uid == 0)`, `session.processes.exists(p, p.argv[0] == "ls" && p.exe.endsWith("ls"))`, `session.processes[1].exe == "/bin/ls"`,
	`session.processes.exists(p, p.execs.exists(e, e.argv[0] == "old"))`, `session.processes[session.processes_total].exe == "x"`, `session.processes[5].upper_layer`,
	`!session.processes[5].upper_layer`, `session.attribution.candidates.exists(c, c.user == "bob")`, `session.evidence.exists(e, e.what == "x")`,
	`session.tty ? session.actor.user == "ann" : session.argv[0] == "sh"`, `10 / session.argv.size() > 3`, `session.actor.pid > 5`, `true`, `session.argv == ["sh"]`,
	`session.path.like(lists.admins)`, `session.direction == "in"`, `session.id != "x"`, `session.processes[session.argv.size()].exe == "x" && session.kind == "exec"`,
)

// partsLanguage is the language of partsOfAllKinds.
func partsLanguage(t fataler) *Language {
	return language(t, map[string][]string{
		"spaces": {"prod", "prod-2"}, "admins": {"alice", "a*", "*b", "*o*", "x*y"}, "none": {}, "shells": {"sh", "bash", "dash", "ash", "zsh"},
		"ranges": {"10.0.0.0/8", "nothing"},
	}, map[string]any{"many": int64(3)})
}

// fataler is a test, or one of rapid's.
type fataler interface {
	Fatal(...any)
	Errorf(string, ...any)
}

func language(t fataler, lists map[string][]string, values map[string]any) *Language {
	l, err := New(lists, values)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func compile(t fataler, l *Language, text string) *Condition {
	c, wrong := l.Condition(text)
	if wrong != nil {
		t.Fatal(text, wrong)
	}
	return c
}

// both is a condition as it is planned and as the library has it.
type both struct {
	language         *Language
	text             string
	planned, library *Condition
}

// bothWays returns conditions of one language.
func bothWays(t fataler, l *Language, texts []string) []both {
	var out []both
	for _, text := range texts {
		c := compile(t, l, text)
		checked, issues := l.env.Compile(text)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		lib := &Condition{ast: checked.NativeRep()}
		if err := lib.library(l.env, checked); err != nil {
			t.Fatal(err)
		}
		out = append(out, both{l, text, c, lib})
	}
	return out
}

// compare reports where a plan says something else than the library, whoever of
// the candidates is the actor.
func (b both) compare(t fataler, s *session.Session) {
	actors := []*session.Actor{&s.Actor}
	for i := range s.Attribution.Candidates {
		actors = append(actors, &s.Attribution.Candidates[i])
	}
	for _, before := range []bool{false, true} {
		for _, who := range actors {
			var scope Scope
			scope.Begin(b.language.Shared(), s, who, before)
			got, want := b.planned.Ask(&scope, 0), b.library.Ask(&scope, 0)
			scope.Close()
			if said(got) != said(want) {
				t.Errorf("%s\nof %+v by %+v, before %v: %s, the library says %s", b.text, s, who, before, said(got), said(want))
			}
		}
	}
}

// said returns what an answer says, apart from the texts of errors.
func said(a Answer) string {
	switch {
	case a.Err() != nil:
		return "error"
	case a.Unknown():
		return fmt.Sprint("unknown ", a.Fields())
	}
	return fmt.Sprint(a.Yes)
}

// And of whatever else can be written, about sessions of which much is absent or
// unknown.
func TestPlanOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var texts []string
		for range 4 {
			texts = append(texts, "session.id != 'never' && ("+anyCondition(t, 2)+")")
		}
		all := bothWays(t, partsLanguage(t), texts)
		for range 10 {
			s := anySession(t)
			rapid.SampledFrom([]func(*session.Session){
				func(*session.Session) {}, processes("sh", "ls -l"), processes("curl x"),
				func(s *session.Session) { processes("sh", "ls")(s); s.LostRecords = 1 },
				func(s *session.Session) {
					processes("sh")(s)
					s.Processes[0].Execs = []session.Program{{Argv: []string{"old"}}}
				},
				func(s *session.Session) {
					s.Argv, s.ArgvSource = nil, ""
					processes("sh -c id")(s)
					s.Processes[0].ArgvHash = "ff"
				},
				func(s *session.Session) {
					s.Actor.Impersonator = &session.Identity{User: "system:x", Groups: []string{"c"}}
				},
				func(s *session.Session) {
					s.Actor.Address, s.Target.Labels = "10.1.2.3:5", map[string]string{"app": "web"}
				},
				func(s *session.Session) { s.Argv = []string{"a\x01b"}; docker(s) },
			}).Draw(t, "change")(&s)
			for _, b := range all {
				b.compare(t, &s)
			}
		}
	})
}

// anyCondition draws a condition.
func anyCondition(t *rapid.T, depth int) string {
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		return rapid.SampledFrom(partsOfAllKinds).Draw(t, "part")
	}
	switch a, b := anyCondition(t, depth-1), anyCondition(t, depth-1); rapid.IntRange(0, 3).Draw(t, "op") {
	case 0:
		return "!(" + a + ")"
	case 1:
		return "(" + a + ") || (" + b + ")"
	default:
		return "(" + a + ") && (" + b + ")"
	}
}

// Each part is planned alone, too, and the test above knows what it compares.
func TestPlanOfParts(t *testing.T) {
	library := map[string]bool{}
	all := bothWays(t, partsLanguage(t), partsOfAllKinds)
	for _, b := range all {
		for _, s := range []session.Session{
			exec("ann"), exec("alice", docker), exec("", nobody), exec("", either("ann", "bob"), processes("sh", "ls -l")),
			exec("bob", processes("curl x"), running), exec("", unasked), {Kind: session.KindAttach, Channel: "UNKNOWN", State: session.StateRunning, Started: at},
		} {
			b.compare(t, &s)
		}
		if b.planned.parts == nil {
			library[b.text] = true
		}
	}
	for _, c := range []string{`session.argv.map(a, a + "x").exists(a, a == "shx")`} {
		if !library[c] {
			t.Errorf("%s is planned, and nothing bounds what it costs", c)
		}
	}
}

// What many conditions ask is asked once, and each of them pays for it.
func TestPartsAreShared(t *testing.T) {
	l := language(t, nil, nil)
	compile(t, l, `session.command.contains("x") && session.programs.exists(p, p.argv[0] == "sh")`)
	c := compile(t, l, `session.programs.exists(p, p.argv[0] == "sh")   && !session.command.contains("x")`)
	if l.Shared() != 2 {
		t.Errorf("%d parts, want 2", l.Shared())
	}
	s := exec("ann", processes("sh", "ls"))
	var scope Scope
	scope.Begin(l.Shared(), &s, &s.Actor, false)
	defer scope.Close()
	var costs []uint64
	for range 2 {
		if got := c.Ask(&scope, 0); !got.Yes {
			t.Fatalf("%+v", got)
		}
		costs = append(costs, scope.spent)
	}
	if costs[0] == 0 || costs[0] != costs[1] {
		t.Errorf("asked twice it costs %v", costs)
	}
}

// Nothing that a plan does for one condition is beyond its bound.
func TestPlanCost(t *testing.T) {
	l := language(t, map[string][]string{"many": {"a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "*b*", "*c*"}}, nil)
	s := exec("ann", func(s *session.Session) { s.Argv = slices.Repeat([]string{strings.Repeat("z", 100)}, 40_000) })
	for _, text := range []string{
		`session.command.matches("(?s)\\b(curl|wget)\\b[^|]*\\|.*\\b(ba|da|a|z|k)?sh\\b")`,
		`session.argv.exists(a, a.like(lists.many))`,
		`session.argv.exists(a, session.argv.exists(b, b.endsWith("x") && a.endsWith("y")))`,
	} {
		c := compile(t, l, text)
		if c.parts == nil {
			t.Errorf("%s is not planned", text)
		}
		var scope Scope
		scope.Begin(l.Shared(), &s, &s.Actor, false)
		if got := c.Ask(&scope, 0); got.Err() != ErrCost {
			t.Errorf("%s: %+v", text, got)
		}
		scope.Close()
	}
}
