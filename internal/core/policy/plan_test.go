package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/parser"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
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

const partLists = `lists: {spaces: [prod, prod-2], admins: [alice, "a*", "*b", "*o*", "x*y"], none: [], shells: [sh, bash, dash, ash, zsh], ranges: [10.0.0.0/8, nothing]}
values: {many: 3}
`

// both is a condition as it is planned and as the library has it.
type both struct {
	set              *Set
	rule, text       string
	planned, library *condition
}

// bothWays returns every condition of some files.
func bothWays(files []File) ([]both, error) {
	l := newLoader()
	set, err := l.load(files)
	if err != nil {
		return nil, err
	}
	var out []both
	for _, r := range set.rules {
		for _, c := range r.conditions() {
			text, err := parser.Unparse(c.ast.Expr(), c.ast.SourceInfo())
			if err != nil {
				return nil, err
			}
			checked, issues := l.env.Compile(text)
			if issues.Err() != nil {
				return nil, issues.Err()
			}
			lib := &condition{ast: checked.NativeRep()}
			if err := lib.library(l.env, checked); err != nil {
				return nil, err
			}
			out = append(out, both{set, r.ID, text, c, lib})
		}
	}
	return out, nil
}

// compare reports where a plan says something else than the library.
func (b both) compare(t interface{ Errorf(string, ...any) }, s *session.Session) {
	for _, before := range []bool{false, true} {
		a := &asking{set: b.set, about: s, before: before}
		a.open()
		got, want := a.judge(b.planned, found{}), a.judge(b.library, found{})
		a.close()
		if said(got) != said(want) {
			t.Errorf("%s: %s\nof %+v, before %v: %s, the library says %s", b.rule, b.text, s, before, said(got), said(want))
		}
	}
}

// said returns what an answer says, apart from the texts of errors.
func said(a answer) string {
	switch {
	case a.err != nil:
		return "error"
	case a.unknown != nil:
		return fmt.Sprint("unknown ", unknownPaths(a))
	}
	return fmt.Sprint(a.yes)
}

// A plan says what the library says: of each rule of the pack, about each session
// that the stories of corpus/ come to and each of the pack's own tests.
func TestPlan(t *testing.T) {
	rules, tests := packFiles(t)
	all, err := bothWays(rules)
	if err != nil {
		t.Fatal(err)
	}
	planned := 0
	for _, b := range all {
		if b.planned.parts != nil {
			planned++
		}
	}
	if planned < len(all)*9/10 {
		t.Errorf("of %d conditions only %d are planned", len(all), planned)
	}
	set, err := Load(rules)
	if err != nil {
		t.Fatal(err)
	}
	sessions := corpus(t)
	for _, f := range tests {
		var errs Errors
		for _, test := range parseTests(f, rules, set, nil, &errs) {
			sessions = append(sessions, test.sessions...)
		}
		if len(errs) > 0 {
			t.Fatal(errs)
		}
	}
	if len(sessions) < 300 {
		t.Fatalf("%d sessions", len(sessions))
	}
	for i := range sessions {
		for _, b := range all {
			b.compare(t, &sessions[i])
		}
	}
}

// And of whatever else can be written, about sessions of which much is absent or
// unknown.
func TestPlanOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		text.WriteString("version: 1\ndefault: allow\n" + partLists + "rules:\n")
		for i := range 4 {
			fmt.Fprintf(&text, "  - {id: r%d, effect: alert, severity: low, when: %q}\n", i, "session.id != 'never' && ("+anyCondition(t, 2)+")")
		}
		all, err := bothWays([]File{{"r.yaml", []byte(text.String())}})
		if err != nil {
			t.Skip("one can never hold: ", err)
		}
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
	var text strings.Builder
	text.WriteString("version: 1\ndefault: allow\n" + partLists + "rules:\n")
	for i, c := range partsOfAllKinds {
		fmt.Fprintf(&text, "  - {id: r%d, effect: alert, severity: low, when: %q}\n", i, c)
	}
	library := map[string]bool{}
	all, err := bothWays([]File{{"r.yaml", []byte(text.String())}})
	if err != nil {
		t.Fatal(err)
	}
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

// What many rules ask is asked once, and each of them pays for it.
func TestPartsAreShared(t *testing.T) {
	set := load(t, `
version: 1
default: allow
rules:
  - {id: a, effect: alert, severity: low, when: 'session.command.contains("x") && session.programs.exists(p, p.argv[0] == "sh")'}
  - {id: b, effect: alert, severity: low, when: 'session.programs.exists(p, p.argv[0] == "sh")   && !session.command.contains("x")'}
`)
	if set.slots != 2 {
		t.Errorf("%d parts, want 2", set.slots)
	}
	s := exec("ann", processes("sh", "ls"))
	a := &asking{set: set, about: &s}
	a.open()
	defer a.close()
	var costs []uint64
	for range 2 {
		if got := a.judge(set.rules[1].when, found{}); !got.yes {
			t.Fatalf("%+v", got)
		}
		costs = append(costs, a.scope.spent)
	}
	if costs[0] == 0 || costs[0] != costs[1] {
		t.Errorf("asked twice it costs %v", costs)
	}
}

// Nothing that a plan does for one rule is beyond its bound.
func TestPlanCost(t *testing.T) {
	set := load(t, `
version: 1
default: allow
lists: {many: [a1, a2, a3, a4, a5, a6, a7, a8, a9, "*b*", "*c*"]}
rules:
  - {id: long, effect: deny, severity: low, when: 'session.command.matches("(?s)\\b(curl|wget)\\b[^|]*\\|.*\\b(ba|da|a|z|k)?sh\\b")'}
  - {id: many, effect: deny, severity: low, when: 'session.argv.exists(a, a.like(lists.many))'}
  - {id: product, effect: deny, severity: low, when: 'session.argv.exists(a, session.argv.exists(b, b.endsWith("x") && a.endsWith("y")))'}
`)
	s := exec("ann", func(s *session.Session) { s.Argv = slices.Repeat([]string{strings.Repeat("z", 100)}, 40_000) })
	a := &asking{set: set, about: &s}
	a.open()
	defer a.close()
	for _, r := range set.rules {
		if r.when.parts == nil {
			t.Errorf("%s is not planned", r.ID)
		}
		if got := a.judge(r.when, found{}); got.err != ErrCost {
			t.Errorf("%s: %+v", r.ID, got)
		}
	}
	if d := set.Decide(&s); d.Rule != "long" || d.Matches[0].Error != ErrCost.Error() {
		t.Errorf("%+v", d)
	}
}

// What is counted is not decided by the session: whatever in it is long, a
// condition that is dear for long inputs gives up.
func TestWhatIsLongIsCounted(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	pair, many := []string{long, long}, slices.Repeat([]string{strings.Repeat("a", 4<<10)}, 256) // as many as host access has
	change := func(f func(*session.Session)) session.Session {
		return exec("ann", func(s *session.Session) {
			s.Kind, s.Target.HostAccess, s.Carried = session.KindChange, &event.HostAccess{}, []session.Carried{{Place: session.PlaceCommand, Argv: []string{"sh"}}}
			f(s)
		})
	}
	suspects := func(a session.Actor) session.Session {
		return exec("", nobody, func(s *session.Session) {
			s.Attribution = session.Attribution{Level: session.LevelSet, Candidates: []session.Actor{a, a}}
		})
	}
	for _, c := range []struct {
		when string
		s    session.Session
	}{
		{`session.carried.exists(c, (c.argv[0] + "x").contains(c.argv[1] + "y"))`, change(func(s *session.Session) { s.Carried[0].Argv = pair })},
		{`session.carried.exists(c, (c.name + "x").contains(c.container + "y"))`, change(func(s *session.Session) { s.Carried[0].Name, s.Carried[0].Container = long, long })},
		{`session.target.host_access.paths.exists(a, (a + "x").contains(session.target.host_access.paths[0] + "y"))`, change(func(s *session.Session) { s.Target.HostAccess.Paths = many })},
		{`session.target.host_access.devices.exists(a, (a + "x").contains(session.target.host_access.devices[0] + "y"))`, change(func(s *session.Session) { s.Target.HostAccess.Devices = many })},
		{`session.target.host_access.capabilities.exists(a, (a + "x").contains(session.target.host_access.capabilities[0] + "y"))`, change(func(s *session.Session) { s.Target.HostAccess.Capabilities = many })},
		{`session.target.host_access.namespaces.exists(a, (a + "x").contains(session.target.host_access.namespaces[0] + "y"))`, change(func(s *session.Session) { s.Target.HostAccess.Namespaces = many })},
		{`session.attribution.candidates.exists(c, (c.argv[0] + "x").contains(c.argv[1] + "y"))`, suspects(session.Actor{Kind: session.ActorUnix, Argv: pair})},
		{`session.attribution.candidates.exists(c, (c.impersonator.user + "x").contains(c.impersonator.uid + "y"))`,
			suspects(session.Actor{Kind: session.ActorKubernetes, Impersonator: &session.Identity{User: long, UID: long}})},
	} {
		set := load(t, withCondition(fmt.Sprintf("%q", c.when)))
		if a := judge(set, &c.s); a.err != ErrCost {
			t.Errorf("%s: %+v", c.when, a)
		}
	}
}

// What is looked for before an expression is asked is in every match of it.
func TestMatches(t *testing.T) {
	for _, pattern := range []string{
		`(?s)\b(curl|wget|fetch|aria2c)\b[^|]*\|.*\b(ba|da|a|z|k)?sh\b`, `^(nc|ncat) .*-e.* 7$`, `(?i)kubectl`, `a|b`, `(ab)+c?`, `(ab){2,}`, `(ab){0,2}`, `x*`,
		`[\x01-\x08\x7f]`, `[a-c]`, `[^a]`, `(?i)[a-c]`, `^$`, ``, `\bcron(d|tab)?\b`, `(sh|bash)$`, `a.c`, `(a|)b`, `é+`, `[é-ü]`,
	} {
		test, err := matches(pattern)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(pattern)
		rapid.Check(t, func(t *rapid.T) {
			s := rapid.OneOf(rapid.StringMatching(`[abcshdncurlwget0-9|. \-é]{0,20}`), rapid.String(), rapid.StringMatching(`(curl x\|sh|nc -e x 7|crontab|ab|abab|\x01)?`)).Draw(t, "text")
			if test(s) != re.MatchString(s) {
				t.Fatalf("%q in %q: %v", pattern, s, test(s))
			}
		})
	}
	for pattern, want := range map[string][]string{
		`\b(curl|wget)\b.*sh`: {"curl", "wget"}, `ab|cd`: {"ab", "cd"}, `ab|.`: nil, `(?i)ab`: nil, `(abc)+x`: {"abc"}, `x?`: nil,
	} {
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := required(tree.Simplify()); !slices.Equal(got, want) {
			t.Errorf("%q requires %q, want %q", pattern, got, want)
		}
	}
}

// packFiles returns the files of the shipped pack, and those of its tests.
func packFiles(t testing.TB) (rules, tests []File) {
	t.Helper()
	for _, pattern := range []string{"../../../rules/*.yaml", "../../../rules/procedures/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if f := (File{name, data}); strings.HasSuffix(name, TestSuffix) {
				tests = append(tests, f)
			} else {
				rules = append(rules, f)
			}
		}
	}
	return rules, tests
}
