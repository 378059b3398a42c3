package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// names returns "RULE SESSION" of findings.
func names(all []finding.Finding) []string {
	var out []string
	for _, f := range all {
		out = append(out, f.Rule+" "+string(f.Session))
	}
	return out
}

func expect(t *testing.T, what string, got []finding.Finding, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, names(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func sess(id string, after time.Duration, change ...func(*session.Session)) session.Session {
	s := exec("ann", change...)
	s.ID, s.Started = session.ID(id), at.Add(after)
	return s
}

func in(container string) func(*session.Session) {
	return func(s *session.Session) { s.Target.ContainerName = container }
}

// One finding for each rule and session, however often it is revised.
func TestOnceForEachSession(t *testing.T) {
	e := NewEngine(load(t, "version: 1\ndefault: allow\nrules:\n"+
		"  - {id: a, effect: alert, severity: low, when: session.kind == 'exec'}\n"+
		"  - {id: d, effect: deny, severity: high, when: session.tty, message: 'No: {{.Command}}'}\n"))
	s := sess("s1", 0, running)
	expect(t, "first", e.Observe(s), "a s1")
	expect(t, "again", e.Observe(s))
	s.TTY, s.State = true, session.StateEnded
	got := e.Observe(s)
	expect(t, "revised", got, "d s1")
	if f := got[0]; f.Message != "No: sh -c id" || f.Effect != "deny" || f.Enforced || f.ID != finding.NewID("d", "s1") || f.Severity != finding.High {
		t.Errorf("%+v", f)
	}
	expect(t, "again", e.Observe(s))
	s.SupersededBy = "s2"
	expect(t, "superseded", e.Observe(s))
}

// Evidence that may still come is waited for, by the data's own time.
func TestWaitsForEvidence(t *testing.T) {
	text := "version: 1\ndefault: allow\nrules:\n" +
		"  - {id: d, effect: deny, severity: high, when: session.actor.user != 'ann'}\n" +
		"  - {id: old, effect: alert, severity: low, settle: 10s, when: session.attribution.level == 'none'}\n"
	e := NewEngine(load(t, text))
	s := sess("s1", 0, running, nobody)
	expect(t, "nobody yet", e.Observe(s))
	expect(t, "later", e.Advance(at.Add(9*time.Second)))
	known := sess("s1", 0, running)
	expect(t, "ann after all", e.Observe(known))
	expect(t, "much later", e.Advance(at.Add(time.Hour)))

	e = NewEngine(load(t, text))
	expect(t, "nobody yet", e.Observe(s))
	expect(t, "settled", e.Advance(at.Add(11*time.Second)), "old s1")
	expect(t, "still nobody", e.Advance(at.Add(time.Minute)), "d s1")
	expect(t, "no more", e.Flush())

	e = NewEngine(load(t, text))
	s.State = session.StateEnded
	got := e.Observe(s)
	expect(t, "it has ended", got, "d s1", "old s1")
	if !slices.Equal(got[0].Unknown, []string{"session.actor.user"}) {
		t.Errorf("unknown %v", got[0].Unknown)
	}
}

const fanOut = "version: 1\ndefault: allow\nrules:\n" +
	"  - {id: fan, effect: alert, severity: low, when: session.kind == 'exec', " +
	"count: {by: [session.actor.identity, session.argv], distinct: session.target.container_name, at_least: 3, within: 1m}}\n"

func TestCount(t *testing.T) {
	e := NewEngine(load(t, fanOut))
	sec := time.Second
	expect(t, "one", e.Observe(sess("s1", 0, in("a"))))
	expect(t, "same container", e.Observe(sess("s2", sec, in("a"))))
	expect(t, "two", e.Observe(sess("s3", 2*sec, in("b"))))
	expect(t, "another command", e.Observe(sess("s4", 3*sec, in("c"), func(s *session.Session) { s.Argv = []string{"x"} })))
	expect(t, "another person", e.Observe(sess("s5", 3*sec, in("c"), func(s *session.Session) { s.Actor.User = "bob" })))
	expect(t, "nobody: no key", e.Observe(sess("s6", 3*sec, in("c"), nobody)))
	got := e.Observe(sess("s7", 4*sec, in("c")))
	expect(t, "three", got, "fan s7")
	if diff := cmp.Diff([]session.ID{"s1", "s2", "s3", "s7"}, got[0].Related); diff != "" {
		t.Errorf("related (-want +got):\n%s", diff)
	}
	expect(t, "the run goes on", e.Observe(sess("s8", 50*sec, in("d"))))
	expect(t, "and on", e.Observe(sess("s9", 100*sec, in("e"))))
	expect(t, "a new run", e.Observe(sess("t1", 1000*sec, in("a"))))
	expect(t, "a new run", e.Observe(sess("t2", 1001*sec, in("b"))))
	expect(t, "a new run", e.Observe(sess("t3", 1002*sec, in("c"))), "fan t3")
	expect(t, "too slow", e.Observe(sess("u1", 5000*sec, in("a"))))
	expect(t, "too slow", e.Observe(sess("u2", 5050*sec, in("b"))))
	expect(t, "too slow", e.Observe(sess("u3", 5100*sec, in("c"))))
}

const steps = "version: 1\ndefault: allow\nrules:\n  - id: seq\n    effect: alert\n    severity: low\n    message: '{{.Command}}'\n" +
	"    sequence:\n      by: session.actor.identity\n      within: 1m\n      steps:\n" +
	"        - when: session.argv[0] == 'ls'\n        - when: session.argv[0] == 'sh'\n        - when: session.argv[0] == 'cat'\n"

func runs(argv ...string) func(*session.Session) { return func(s *session.Session) { s.Argv = argv } }

func TestSequence(t *testing.T) {
	all := []session.Session{
		sess("s1", 0, runs("ls")), sess("s2", 10*time.Second, runs("sh")), sess("s3", 20*time.Second, runs("cat", "x")),
	}
	e := NewEngine(load(t, steps))
	expect(t, "1", e.Observe(all[0]))
	expect(t, "2", e.Observe(all[1]))
	got := e.Observe(all[2])
	expect(t, "3", got, "seq s3")
	if !slices.Equal(got[0].Related, []session.ID{"s1", "s2"}) || got[0].Message != "cat x" {
		t.Errorf("%+v", got[0])
	}
	// Late evidence: whatever the order of arrival, the same finding.
	for range 20 {
		e := NewEngine(load(t, steps))
		order := rand.Perm(3)
		var got []finding.Finding
		for _, i := range order {
			got = append(got, e.Observe(all[i])...)
		}
		expect(t, fmt.Sprint(order), got, "seq s3")
	}
	e = NewEngine(load(t, steps))
	for i, s := range all {
		s.Started = at.Add(time.Duration(i) * 31 * time.Second)
		expect(t, "too slow", e.Observe(s))
	}
	e = NewEngine(load(t, steps))
	for i, s := range []session.Session{all[1], all[0], all[2]} {
		s.Started = at.Add(time.Duration(i) * time.Second)
		expect(t, "another order", e.Observe(s))
	}
}

// An engine that begins anew goes on where the one before ended.
func TestRemember(t *testing.T) {
	e := NewEngine(load(t, fanOut))
	e.Remember(sess("s1", 0, in("a")))
	e.Remember(sess("s2", time.Second, in("b")))
	expect(t, "three", e.Observe(sess("s3", 2*time.Second, in("c"))), "fan s3")
	e = NewEngine(load(t, fanOut))
	for i, c := range []string{"a", "b", "c"} {
		e.Remember(sess(fmt.Sprint("s", i), time.Duration(i)*time.Second, in(c)))
	}
	expect(t, "was told before", e.Observe(sess("s9", 5*time.Second, in("d"))))
}

// Rules can be changed while counts go on.
func TestUse(t *testing.T) {
	e := NewEngine(load(t, fanOut))
	e.Observe(sess("s1", 0, in("a")))
	e.Observe(sess("s2", time.Second, in("b")))
	e.Use(load(t, fanOut+"  - {id: other, effect: alert, severity: low, when: session.tty}\n"))
	expect(t, "three", e.Observe(sess("s3", 2*time.Second, in("c"))), "fan s3")
}

// What is remembered is bounded whatever comes.
func TestMemoryIsBounded(t *testing.T) {
	e := NewEngine(load(t, fanOut+"  - {id: w, effect: deny, severity: low, when: session.actor.user == 'x'}\n"))
	for i := range 2 * sessionsMax {
		s := sess(fmt.Sprintf("s%015d", i), time.Duration(i)*time.Second, in(fmt.Sprint(i)), runs(fmt.Sprint(i)))
		if i%2 == 0 {
			nobody(&s)
			running(&s)
		}
		e.Observe(s)
	}
	if len(e.sessions) > sessionsMax || e.order.Len() > sessionsMax || len(e.waiting) > waitingMax {
		t.Errorf("%d sessions, %d wait", len(e.sessions), len(e.waiting))
	}
	if e.Stats().Forgotten == 0 {
		t.Error("keys were forgotten and nobody counted")
	}
}

// Whatever the revisions are and in which order: no finding comes twice, and the
// findings of an engine are those that a review of each last state gives.
func TestEngineAgreesWithReview(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, _ := loadPossible(t, anyRules(t))
		e := NewEngine(set)
		seen := map[finding.ID]bool{}
		take := func(all []finding.Finding) {
			for _, f := range all {
				if seen[f.ID] {
					t.Fatalf("%s twice", f.ID)
				}
				seen[f.ID] = true
			}
		}
		last := map[session.ID]session.Session{}
		for i := range rapid.IntRange(1, 10).Draw(t, "sessions") {
			s := anySession(t)
			s.ID, s.State = session.ID(fmt.Sprint(i)), session.StateEnded
			last[s.ID] = s
			take(e.Observe(s))
			take(e.Observe(s))
		}
		take(e.Flush())
		want, rules := map[finding.ID]bool{}, map[string]*rule{}
		for _, r := range set.rules {
			rules[r.ID] = r
		}
		for id, s := range last {
			d := set.Review(&s)
			for _, m := range d.Matches {
				if rules[m.Rule].Has("alert") || m.Rule == d.Rule && d.Effect != "allow" {
					want[finding.NewID(m.Rule, string(id))] = true
				}
			}
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Fatalf("(-review +engine):\n%s", diff)
		}
	})
}

// Rules about witnesses that come while one is down are asked about it, too; what
// was told is not told again.
func TestUseWhileAWitnessIsDown(t *testing.T) {
	const none = "version: 1\ndefault: allow\nrules:\n  - {id: other, effect: alert, severity: low, when: session.tty}\n"
	const blind = none + "  - {id: blind, effect: alert, severity: low, blind: {witnesses: [audit], after: 5m}}\n"
	heard := func(witness event.Witness, after time.Duration) event.Header {
		return event.Header{Time: at.Add(after), Witness: witness}
	}
	e := NewEngine(load(t, none))
	e.Hear(event.WitnessState{Header: heard(event.WitnessAudit, 0), Up: true})
	e.Hear(event.WitnessState{Header: heard(event.WitnessAudit, time.Minute)})
	e.Hear(event.Tick{Header: heard(event.WitnessEngine, 2*time.Minute)})

	e.Use(load(t, blind))
	expect(t, "not for long", e.Hear(event.Tick{Header: heard(event.WitnessEngine, 3*time.Minute)}))
	expect(t, "for long", e.Hear(event.Tick{Header: heard(event.WitnessEngine, 6*time.Minute)}), "blind ")
	e.Use(load(t, blind))
	expect(t, "told", e.Hear(event.Tick{Header: heard(event.WitnessEngine, 7*time.Minute)}))
	e.Use(load(t, strings.ReplaceAll(blind, "id: blind", "id: new")))
	expect(t, "another rule, and it is long ago", e.Hear(event.Tick{Header: heard(event.WitnessEngine, 7*time.Minute)}), "new ")
}
