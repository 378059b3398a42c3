package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

// The three answers: what a condition says of fields that have a value, are
// absent, or are unknown.
func TestAnswers(t *testing.T) {
	const yes, no, unknown = "yes", "no", "unknown"
	lost := func(s *session.Session) { s.LostRecords = 1 }
	noTTY := func(s *session.Session) { s.ArgvSource, s.Argv = "event", []string{"sh -c id"} }
	long := func(s *session.Session) {
		s.Argv, s.ArgvSource = nil, ""
		processes("sh -c id")(s)
		s.Processes[0].ArgvHash = "ff"
	}
	settings := func(have session.Settings) func(*session.Session) {
		return func(s *session.Session) { s.Settings = &have }
	}
	access := func(h event.HostAccess) func(*session.Session) {
		return func(s *session.Session) { s.Target.HostAccess = &h }
	}
	input := func(open bool) func(*session.Session) { return func(s *session.Session) { s.Stdin = &open } }
	kind := func(k session.Kind) func(*session.Session) {
		return func(s *session.Session) { s.Kind, s.Argv = k, nil }
	}
	carries := func(s *session.Session) {
		s.Kind, s.Carried = session.KindChange, []session.Carried{{Place: session.PlaceLiveness, Argv: []string{"sh"}}, {Place: session.PlaceVariable, Name: "ENV"}}
	}
	prepared := func(s *session.Session) { docker(s); created := s.Started.Add(-time.Hour); s.Created = &created }
	for _, c := range []struct {
		when   string
		s      session.Session
		answer string
	}{
		// What of the host: told, in part, not told, and of no container.
		{`session.target.host_access.privileged`, exec("ann", access(event.HostAccess{Privileged: true})), yes},
		{`session.target.host_access.privileged`, exec("ann", access(event.HostAccess{})), no},
		{`session.target.host_access.privileged`, exec("ann", access(event.HostAccess{Partial: true})), unknown},
		{`session.target.host_access.privileged`, exec("ann", access(event.HostAccess{Privileged: true, Partial: true})), yes},
		{`session.target.host_access.privileged`, exec("ann"), unknown},
		{`session.target.host_access.privileged`, exec("ann", kind(session.KindIdentity)), no},
		{`session.target.host_access.paths.exists(p, p.like("/*"))`, exec("ann", access(event.HostAccess{Paths: []string{"/etc"}})), yes},
		{`session.target.host_access.paths.exists(p, p.like("/*"))`, exec("ann", access(event.HostAccess{})), no},
		{`session.target.host_access.paths.exists(p, p.like("/*"))`, exec("ann"), unknown},
		{`session.target.host_access.paths.exists(p, p.like("/*"))`, exec("ann", kind(session.KindDoor)), no},
		{`"pid" in session.target.host_access.namespaces`, exec("ann", access(event.HostAccess{Partial: true})), unknown},
		{`"pid" in session.target.host_access.namespaces`, exec("ann"), unknown},
		{`session.target.host_access.devices.size() > 0`, exec("ann", access(event.HostAccess{Devices: []string{"/dev/sda"}})), yes},
		{`session.target.host_access.devices.size() > 0`, exec("ann"), unknown},
		{`has(session.target.host_access)`, exec("ann", access(event.HostAccess{})), yes},
		{`session.settings.dir == "/etc"`, exec("ann", settings(session.Settings{Dir: "/etc"})), yes},
		{`session.settings.dir == "/etc"`, exec("ann", settings(session.Settings{})), no},
		{`session.settings.dir == "/etc"`, exec("ann"), unknown},
		{`session.settings.dir == "/etc"`, exec("ann", kind(session.KindRequest)), no},
		{`has(session.settings.cgroup_parent)`, exec("ann", settings(session.Settings{})), no},
		{`"TOKEN" in session.settings.variables`, exec("ann", settings(session.Settings{Variables: []string{"TOKEN"}})), yes},
		{`"TOKEN" in session.settings.variables`, exec("ann"), unknown},
		{`session.settings.joined.exists(j, j.startsWith("pid:"))`, exec("ann", settings(session.Settings{Joined: []string{"pid:c0ffee"}})), yes},
		{`session.settings.security.size() > 0`, exec("ann", kind(session.KindChange)), unknown},
		{`session.settings.security.size() > 0`, exec("ann", kind(session.KindCopy)), no},
		{`has(session.target.host_access)`, exec("ann"), no},
		// Standard input.
		{`session.stdin`, exec("ann", input(true)), yes},
		{`session.stdin`, exec("ann", input(false)), no},
		{`!session.stdin`, exec("ann"), unknown},
		{`session.stdin`, exec("ann", kind(session.KindAttach)), unknown},
		{`!session.stdin`, exec("ann", kind(session.KindProbe)), yes},
		// Commands in objects.
		{`session.carried.exists(c, c.place == "liveness" && c.argv[0] == "sh")`, exec("ann", carries), yes},
		{`session.carried.exists(c, c.name == "ENV" && c.argv[0] == "sh")`, exec("ann", carries), unknown},
		{`session.carried.exists(c, c.name == "PATH")`, exec("ann", carries), no},
		{`session.carried.size() > 0`, exec("ann", kind(session.KindChange)), unknown},
		{`session.carried.size() > 0`, exec("ann"), no},
		// When an exec was prepared.
		{`session.started - session.created > duration("1m")`, exec("ann", prepared), yes},
		{`session.started - session.created > duration("2h")`, exec("ann", prepared), no},
		{`session.started - session.created > duration("1m")`, exec("ann", docker), unknown},
		{`session.started - session.created > duration("1m")`, exec("ann"), no},
		{`session.target.namespace == "prod"`, exec("ann"), yes},
		{`session.target.namespace == "dev"`, exec("ann"), no},
		// Absent: every question is answered with no.
		{`session.target.namespace == "prod"`, exec("ann", docker), no},
		{`session.target.namespace != "prod"`, exec("ann", docker), yes},
		{`session.target.namespace in ["prod", ""]`, exec("ann", docker), no},
		{`session.target.namespace.startsWith("")`, exec("ann", docker), no},
		{`!session.target.namespace.startsWith("dev")`, exec("ann", docker), yes},
		{`session.target.namespace.matches("^.*$")`, exec("ann", docker), no},
		{`session.target.namespace + "x" == "x"`, exec("ann", docker), no},
		{`session.target.namespace.size() < 100`, exec("ann", docker), no},
		{`session.target.namespace == session.target.pod`, exec("ann", docker), no},
		{`has(session.target.namespace)`, exec("ann", docker), no},
		{`session.actor.impersonator.user == "root"`, exec("ann"), no},
		{`has(session.actor.impersonator.user)`, exec("ann"), no},
		{`session.target.labels["app"] == "web"`, exec("ann"), no},
		{`has(session.target.labels.app)`, exec("ann"), no},
		{`"app" in session.target.labels`, exec("ann"), no},
		{`session.argv[7] == "x"`, exec("ann"), no},
		{`has(session.actor.extra)`, exec("ann"), no},
		{`session.actor.kind == "none"`, exec("", nobody), unknown},
		{`session.exit_code == 0`, exec("ann", running), no},
		{`"admins" in session.actor.groups`, exec("ann"), no},
		{`session.actor.groups.all(g, g == "x")`, exec("ann"), yes},
		// Of what is absent a list and a map are empty, and a flag is not set.
		{`"c" in session.actor.impersonator.groups`, exec("ann"), no},
		{`!session.actor.impersonator.groups.exists(g, g == "c")`, exec("ann"), yes},
		{`session.actor.impersonator.groups.filter(g, g == "c").size() > 0`, exec("ann"), no},
		{`session.actor.impersonator.groups.size() == 0`, exec("ann"), yes},
		{`has(session.actor.impersonator.groups)`, exec("ann"), no},
		{`"scopes" in session.actor.impersonator.extra`, exec("ann"), no},
		{`session.actor.impersonator.extra.exists(k, k == "scopes")`, exec("ann"), no},
		{`"all" in session.actor.impersonator.extra["scopes"]`, exec("ann"), no},
		{`"all" in session.actor.extra["scopes"]`, exec("ann"), no},
		{`session.actor.extra["scopes"].exists(x, x == "all")`, exec("ann"), no},
		{`session.actor.extra["scopes"][0] == "all"`, exec("ann"), no},
		{`"all" in session.actor.extra["scopes"]`, exec("ann", func(s *session.Session) {
			s.Actor.Extra = map[string][]string{"scopes": {"all"}}
		}), yes},
		{`"system:masters" in session.api.groups`, exec("", unasked), no},
		{`session.api.groups.exists(g, g.startsWith("system:"))`, exec("", unasked), no},
		{`has(session.api.groups)`, exec("", unasked), no},
		{`"system:masters" in session.api.groups`, exec("ann", docker), no},
		{`session.programs.exists(p, p.parent.argv.exists(a, a == "-c"))`, exec("ann", processes("sh")), no},
		{`session.programs.exists(p, "-c" in p.parent.argv)`, exec("ann", processes("sh")), no},
		{`session.programs.exists(p, p.parent.memfd)`, exec("ann", processes("sh")), no},
		{`session.programs.exists(p, !p.parent.memfd)`, exec("ann", processes("sh")), yes},
		{`session.programs.exists(p, has(p.parent.memfd))`, exec("ann", processes("sh")), no},
		{`session.processes[5].upper_layer || session.processes[5].execs.exists(e, true)`, exec("ann", processes("sh")), no},
		// Unknown.
		{`session.actor.user == "ann"`, exec("", nobody), unknown},
		{`session.actor.user != "ann"`, exec("", nobody), unknown},
		{`"admins" in session.actor.groups`, exec("", nobody), unknown},
		{`session.kind == "attach" && session.actor.user == "ann"`, exec("", nobody), no},
		{`session.kind == "exec" || session.actor.user == "ann"`, exec("", nobody), yes},
		{`has(session.actor.user)`, exec("", nobody), no},
		{`has(session.actor.user) && session.actor.user == "ann"`, exec("", nobody), no},
		{`session.actor.user.like(lists.admins)`, exec("", nobody), unknown},
		{`session.tty`, exec("ann", noTTY), unknown},
		{`session.argv[0] == "sh"`, exec("ann", noTTY), unknown},
		{`session.command == "sh -c id"`, exec("ann", noTTY), yes},
		{`session.command == "sh -c id"`, exec("ann"), yes},
		{`session.target.namespace == "prod"`, exec("ann", func(s *session.Session) { s.Target.Namespace, s.Target.Pod = "", "" }), unknown},
		// Nobody watched the processes.
		{`session.processes.exists(p, p.exe == "/bin/curl")`, exec("ann"), unknown},
		// Somebody did, and missed some.
		{`session.processes.exists(p, p.exe == "/bin/sh")`, exec("ann", processes("sh", "ls"), lost), yes},
		{`session.processes.exists(p, p.exe == "/bin/curl")`, exec("ann", processes("sh", "ls"), lost), unknown},
		{`session.processes.exists(p, p.exe == "/bin/curl")`, exec("ann", processes("sh", "ls")), no},
		{`session.processes.all(p, p.exe != "/bin/curl")`, exec("ann", processes("sh"), lost), unknown},
		{`session.processes.size() == 1`, exec("ann", processes("sh"), lost), unknown},
		{`session.processes[session.processes_total].exe == "x"`, exec("ann", processes("sh"), lost), unknown},
		// The beginning of the arguments.
		{`session.argv[0] == "sh"`, exec("ann", long), yes},
		{`"-x" in session.argv`, exec("ann", long), unknown},
		{`"-c" in session.argv`, exec("ann", long), yes},
		{`session.argv == ["sh", "-c", "id"]`, exec("ann", long), unknown},
		{`["sh", "-c", "id"] == session.argv`, exec("ann", long), unknown},
		{`["sh", "-c", "id"] == session.argv`, exec("ann"), yes},
		{`session.argv == ["sh"]`, exec("ann"), no},
		// One of several people.
		{`session.actor.user.like(lists.admins)`, exec("", either("alice", "system:serviceaccount:ci:bot")), yes},
		{`session.actor.user.like(lists.admins)`, exec("", either("bob", "carol")), no},
		{`session.actor.user.like(lists.admins)`, exec("", either("alice", "bob")), unknown},
		{`session.attribution.candidates.exists(c, c.user == "bob")`, exec("", either("alice", "bob")), yes},
		// Functions.
		{`basename(session.argv[0]) == "sh"`, exec("ann", func(s *session.Session) { s.Argv[0] = "/bin/sh" }), yes},
		{`session.actor.address.within("10.0.0.0/8")`, exec("ann", func(s *session.Session) { s.Actor.Address = "10.1.2.3:5555" }), yes},
		{`session.actor.address.within(["192.0.2.1", "10.0.0.0/8"])`, exec("ann", func(s *session.Session) { s.Actor.Address = "::ffff:10.1.2.3" }), yes},
		{`session.actor.address.within("10.0.0.0/8")`, exec("ann", func(s *session.Session) { s.Actor.Address = "what" }), no},
		{`session.actor.user.like("system:*:ci:*")`, exec("system:serviceaccount:ci:bot"), yes},
		{`session.actor.user.like("system:*:ci")`, exec("system:serviceaccount:ci:bot"), no},
		{`session.programs.exists(p, p.argv[0] == "old")`, exec("ann", processes("sh"), func(s *session.Session) {
			s.Processes[0].Execs = []session.Program{{Argv: []string{"old"}}}
		}), yes},
		{`session.ended - session.started > duration("1m")`, exec("ann", func(s *session.Session) {
			end := s.Started.Add(time.Hour)
			s.Ended = &end
		}), yes},
		{`session.ended - session.started > duration("1m")`, exec("ann"), no},
	} {
		set := load(t, withCondition(fmt.Sprintf("%q", c.when)))
		got := no
		switch a := judge(set, &c.s); {
		case a.Err() != nil:
			got = a.Err().Error()
		case a.Unknown():
			got = unknown
		case a.Yes:
			got = yes
		}
		if got != c.answer {
			t.Errorf("%s\n  of %+v: %s, want %s", c.when, c.s, got, c.answer)
		}
	}
}

func TestFirstMatchDecides(t *testing.T) {
	set := load(t, `
version: 1
default: deny
rules:
  - {id: note, effect: [record, alert], severity: low, when: session.kind == "exec"}
  - {id: ops, effect: allow, when: '"ops" in session.actor.groups'}
  - {id: shell, effect: [approve, record], severity: high, when: 'session.argv[0] == "sh"', message: "Ask for {{.Request.ID}}"}
  - {id: late, effect: deny, severity: high, when: session.kind == "exec"}
`)
	ops := exec("ann", func(s *session.Session) { s.Actor.Groups = []string{"ops"} })
	for _, c := range []struct {
		s    session.Session
		want Decision
	}{
		{ops, Decision{Effect: effect.Allow, Rule: "ops", Message: "ops", Record: true}},
		{exec("bob"), Decision{Effect: effect.Approve, Rule: "shell", Message: "Ask for aaaaaaaaaaaaaaaa", Severity: 3, Record: true}},
		{exec("bob", func(s *session.Session) { s.Kind = session.KindProbe }), Decision{Effect: effect.Approve, Rule: "shell", Message: "Ask for aaaaaaaaaaaaaaaa", Severity: 3, Record: true}},
		{exec("bob", func(s *session.Session) { s.Kind, s.Argv = session.KindProbe, []string{"x"} }), Decision{Effect: effect.Deny}},
	} {
		got := set.Decide(&c.s)
		got.Matches = nil
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.s.Actor.User, c.s.Kind, diff)
		}
	}
}

// Nobody gets past a denial because he could not be identified, and nobody is
// allowed by what is not known.
func TestUnknownAtAGuard(t *testing.T) {
	set := load(t, `
version: 1
default: allow
rules:
  - {id: allow-ann, effect: allow, when: session.actor.user == "ann"}
  - {id: deny-bob, effect: deny, severity: high, when: session.actor.user == "bob"}
`)
	s := exec("", nobody)
	d := set.Decide(&s)
	if d.Effect != effect.Deny || d.Rule != "deny-bob" || !slices.Equal(d.Matches[0].Unknown, []string{"session.actor.user"}) {
		t.Errorf("decision %+v", d)
	}
	lax := load(t, `
version: 1
default: allow
rules:
  - {id: deny-bob, effect: deny, severity: high, unknown: pass, when: session.actor.user == "bob"}
`)
	if d := lax.Decide(&s); d.Effect != effect.Allow {
		t.Errorf("the rule says that what is unknown passes: %+v", d)
	}
	// What only running shows is unknown before.
	late := load(t, "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: deny, severity: low, when: session.exit_code == 0}\n")
	ann := exec("ann")
	if d := late.Decide(&ann); d.Effect != effect.Deny {
		t.Errorf("%+v", d)
	}
}

// A condition that costs too much is taken to hold, and says so.
func TestCostLimit(t *testing.T) {
	set := load(t, `
version: 1
default: allow
rules:
  - id: dear
    effect: deny
    severity: high
    when: session.argv.exists(a, session.argv.exists(b, a.contains(b + "x")))
  - id: dear-allow
    effect: allow
    when: session.argv.exists(a, session.argv.exists(b, a.contains(b + "x")))
`)
	cheap := exec("ann")
	if d := set.Decide(&cheap); d.Effect != effect.Allow || len(d.Matches) != 0 {
		t.Errorf("cheap: %+v", d)
	}
	s := exec("ann", func(s *session.Session) {
		s.Argv = slices.Repeat([]string{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, 5000)
	})
	began := time.Now()
	d := set.Decide(&s)
	if d.Effect != effect.Deny || d.Rule != "dear" || d.Matches[0].Error != condition.ErrCost.Error() {
		t.Errorf("dear: %+v", d)
	}
	t.Logf("gave up after %s", time.Since(began))
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
		if a := judge(set, &c.s); a.Err() != condition.ErrCost {
			t.Errorf("%s: %+v", c.when, a)
		}
	}
}

// A session cannot make a rule about its programs cost more than it may.
func TestMatchIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 500 {
		fmt.Fprintf(&b, "%q, ", fmt.Sprintf("*never %d seen*", i))
	}
	set := load(t, withCondition(`'session.programs.exists(p, p.commandLike([`+b.String()+`"*x*"]))'`))
	s := exec("ann")
	for i := range 256 {
		tree(ran(uint32(i+1), uint32(i), "/bin/sh", strings.Repeat("aaaaaaa ", 500), nil))(&s)
	}
	if d := set.Review(&s); len(d.Matches) != 1 || d.Matches[0].Error != condition.ErrCost.Error() {
		t.Errorf("%+v", d.Matches)
	}
}

func TestAbsentIndex(t *testing.T) {
	set := load(t, withCondition(`session.processes[session.exit_code].exe == "x"`))
	s := exec("ann", processes("sh"), running)
	if d := set.Review(&s); len(d.Matches) != 1 || d.Matches[0].Error != "the index is a field that is not there" {
		t.Errorf("%+v", d.Matches)
	}
}

func TestErrorsInConditionsHold(t *testing.T) {
	set := load(t, "version: 1\ndefault: allow\nrules:\n  - {id: r, effect: deny, severity: low, when: 10 / session.argv.size() > 3}\n")
	s := exec("ann", func(s *session.Session) { s.Argv = []string{}; s.Kind = session.KindAttach })
	if d := set.Decide(&s); d.Effect != effect.Deny || !strings.Contains(d.Matches[0].Error, "division by zero") {
		t.Errorf("%+v", d)
	}
}

func TestSuppressions(t *testing.T) {
	base := exec("ann")
	text := fmt.Sprintf(`
version: 1
default: allow
rules:
  - {id: r, effect: deny, severity: low, when: session.kind == "exec"}
suppressions:
  - {rule: r, owner: o, reason: x, expires: 2026-11-02, actor: %q, workload: %q, argv_hash: %s}
`, key.Identity(base.Actor), key.Workload(base.Target), key.ArgvHash(&base))
	set := load(t, text)
	for name, c := range map[string]struct {
		s    session.Session
		want effect.Effect
	}{
		"as written":     {base, effect.Allow},
		"another person": {exec("bob"), effect.Deny},
		"impersonated":   {exec("ann", func(s *session.Session) { s.Actor.Impersonator = &session.Identity{User: "eve"} }), effect.Deny},
		"elsewhere":      {exec("ann", func(s *session.Session) { s.Target.Pod = "web-1" }), effect.Deny},
		"other command":  {exec("ann", func(s *session.Session) { s.Argv = []string{"sh", "-c id"} }), effect.Deny},
		"a guess":        {exec("ann", func(s *session.Session) { s.Attribution.Level = session.LevelSet }), effect.Deny},
		"the day after":  {exec("ann", func(s *session.Session) { s.Started = at.AddDate(0, 0, 1) }), effect.Deny},
	} {
		if d := set.Decide(&c.s); d.Effect != c.want {
			t.Errorf("%s: %s, want %s", name, d.Effect, c.want)
		}
	}
	if _, err := Load([]File{{"r.yaml", []byte(strings.Replace(text, "{rule: r,", "{rule: q,", 1))}}); err == nil {
		t.Error("a suppression of a rule that there is not")
	}
}

// anyRules draws a file of rules.
func anyRules(t *rapid.T) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndefault: %s\nlists: {spaces: [prod, prod-2]}\nrules:\n", rapid.SampledFrom([]string{"allow", "deny"}).Draw(t, "default"))
	for i := range rapid.IntRange(1, 8).Draw(t, "rules") {
		parts := rapid.SliceOfN(rapid.SampledFrom(conditions), 1, 3).Draw(t, "conditions")
		op := rapid.SampledFrom([]string{" && ", " || "}).Draw(t, "op")
		not := rapid.SampledFrom([]string{"", "!"}).Draw(t, "not")
		does := rapid.SampledFrom([]string{"allow", "deny", "approve", "record", "alert", "[deny, alert]"}).Draw(t, "effect")
		fmt.Fprintf(&b, "  - {id: r%d, effect: %s, severity: low, when: %q}\n", i, does, not+"("+strings.Join(parts, op)+")")
	}
	return b.String()
}

// loadPossible loads drawn rules without those that can never hold, and returns
// their text.
func loadPossible(t *rapid.T, text string) (*Set, string) {
	for range 100 {
		set, err := Load([]File{{"r.yaml", []byte(text)}})
		var errs source.Errors
		if !errors.As(err, &errs) {
			return set, text
		}
		lines := strings.Split(text, "\n")
		for _, e := range errs {
			lines[e.Line-1] = ""
		}
		text = strings.Join(slices.DeleteFunc(lines, func(s string) bool { return s == "" }), "\n")
		if !strings.Contains(text, "- {") {
			t.Skip("no rules are left")
		}
	}
	t.Fatal("no set")
	return nil, ""
}

// judge returns what the condition of the first rule says of a session.
func judge(set *Set, s *session.Session) condition.Answer {
	a := &asking{set: set, about: s}
	defer a.close()
	a.open()
	return a.judge(set.rules[0].when, 0)
}

// The index changes no decision: asking every rule all that it asks gives the same.
func TestIndexChangesNothing(t *testing.T) {
	whenAnything := regexp.MustCompile(`when: "(.*)"}`)
	rapid.Check(t, func(t *rapid.T) {
		set, text := loadPossible(t, anyRules(t))
		// Of a part that reads several fields, an index never knows the answer.
		text = whenAnything.ReplaceAllString(text, `when: "($1) || session.id == \"never\""}`)
		every, _ := loadPossible(t, text)
		if len(every.rules) != len(set.rules) {
			t.Fatalf("%d rules of %d", len(every.rules), len(set.rules))
		}
		all := every.pick(func(*rule) bool { return true })
		every.index = &index{all: all, other: all, none: all}
		for range 10 {
			s := anySession(t)
			for _, ask := range []func(*Set) Decision{
				func(x *Set) Decision { return x.Decide(&s) }, func(x *Set) Decision { return x.Review(&s) },
			} {
				if diff := cmp.Diff(ask(every), ask(set), cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Named" }, cmp.Ignore())); diff != "" {
					t.Fatalf("%+v\n(-all rules +index):\n%s", s, diff)
				}
			}
		}
	})
}

// More rules than fit a word of the index: the last one decides.
func TestManyRules(t *testing.T) {
	for _, n := range []int{63, 64, 65, 127, 128, 200} {
		set := load(t, benchRules(n-1)+"  - {id: last, effect: approve, severity: high, when: session.actor.user == 'eve'}\n")
		eve, ann := exec("eve"), exec("ann")
		if d := set.Decide(&eve); d.Rule != "last" {
			t.Errorf("%d rules: %+v", n, d)
		}
		if d := set.Decide(&ann); d.Effect != effect.Allow {
			t.Errorf("%d rules: %+v", n, d)
		}
	}
}

// A decision is that of the first rule that decides, in order.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, _ := loadPossible(t, anyRules(t))
		s := anySession(t)
		want := Decision{Effect: set.def}
		for _, r := range set.rules {
			one := set.Only(func(x Rule) bool { return x.ID == r.ID })
			d := one.Decide(&s)
			if len(d.Matches) == 0 {
				continue
			}
			want.Record = want.Record || d.Record
			if want.Rule == "" && r.Decides() != "" {
				want.Effect, want.Rule = r.Decides(), r.ID
			}
		}
		if got := set.Decide(&s); got.Effect != want.Effect || got.Rule != want.Rule || got.Record != want.Record {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// TestNamed: a rule names a channel when it cannot hold for another.
func TestNamed(t *testing.T) {
	const rules = `
version: 1
default: deny
rules:
  - {id: r, when: %s, effect: allow}
`
	for _, c := range []struct {
		when    string
		channel event.Channel
		named   bool
	}{
		{`session.channel == "DK-BUILD"`, event.ChannelDockerBuild, true},
		{`session.channel in ["DK-BUILD", "DK-EXEC"] && session.actor.user == "ann"`, event.ChannelDockerBuild, true},
		{`session.channel.startsWith("DK-")`, event.ChannelDockerBuild, true},
		{`session.actor.user == "ann"`, event.ChannelDockerBuild, false},
		{`session.channel != "DK-EXEC"`, event.ChannelDockerBuild, false},
		{`"true" == "true"`, event.ChannelDockerBuild, false},
		{`session.channel == "UNKNOWN"`, event.ChannelUnknown, true},
		{`session.channel != "DK-RUN"`, event.ChannelUnknown, false},
	} {
		set := load(t, fmt.Sprintf(rules, "'"+c.when+"'"))
		s := exec("ann", docker)
		s.Channel = c.channel
		if d := set.Decide(&s); d.Effect != effect.Allow || d.Rule != "r" || d.Named != c.named {
			t.Errorf("%s of %s: %+v, want named %v", c.when, c.channel, d, c.named)
		}
	}
}
