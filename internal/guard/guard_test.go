package guard_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
)

var at = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func load(t testing.TB, text string) *policy.Set {
	t.Helper()
	set, err := policy.Load([]policy.File{{Name: "r.yaml", Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func unix(uid uint32) session.Actor { return session.Actor{Kind: session.ActorUnix, UID: &uid} }

func request(c event.Channel, a session.Actor) *session.Session {
	kind := session.KindExec
	if c == event.ChannelDockerRead || c == event.ChannelDockerAPI {
		kind = session.KindRequest
	}
	return &session.Session{
		ID: "aaaaaaaaaaaaaaaa", Kind: kind, Channel: c, Started: at, Actor: a, Argv: []string{"id"}, ArgvSource: "request",
		Target: session.Target{ContainerID: "c", Image: "box"}, Attribution: session.Attribution{Level: session.LevelExact},
	}
}

// TestDecide: what holds besides the rules.
func TestDecide(t *testing.T) {
	for _, c := range []struct {
		rules   string
		channel event.Channel
		allowed bool
		message string
	}{
		{"default: allow", event.ChannelDockerExec, true, ""},
		{"default: allow", event.ChannelDockerBuild, false, `only by a rule that asks for session.channel == "DK-BUILD"`},
		{"default: allow", event.ChannelUnknown, false, "nobody knows"},
		{"default: deny", event.ChannelDockerExec, false, "denied by default"},
		{"default: deny", event.ChannelDockerAPI, false, "denied by default"},
		{"default: deny", event.ChannelDockerRead, true, ""},
		{"default: allow\nrules: [{id: r, when: 'session.channel == \"DK-READ\"', effect: deny, severity: low}]", event.ChannelDockerRead, false, "by rule r"},
		{"default: deny\nrules: [{id: r, when: 'session.actor.uid == 1', effect: allow}]", event.ChannelDockerExec, true, ""},
		{"default: deny\nrules: [{id: r, when: 'session.actor.uid == 1', effect: allow}]", event.ChannelDockerBuild, false, "only by a rule"},
		{"default: deny\nrules: [{id: r, when: 'session.channel == \"DK-BUILD\"', effect: allow}]", event.ChannelDockerBuild, true, ""},
		{"default: allow\nrules: [{id: r, when: 'session.actor.uid == 1', effect: approve, severity: low}]", event.ChannelDockerExec, false, "not approved by rule r"},
	} {
		var told []guard.Record
		g := guard.New(guard.Options{Rules: load(t, "version: 1\n"+c.rules), Enforce: true, Tell: func(r guard.Record) { told = append(told, r) }})
		d := g.Decide(t.Context(), request(c.channel, unix(1)), nil)
		if !d.Stopped != c.allowed || !strings.Contains(d.Message, c.message) {
			t.Errorf("%s %s: %+v", c.rules, c.channel, d)
		}
		if quiet := c.allowed && c.channel == event.ChannelDockerRead; (len(told) == 0) != quiet {
			t.Errorf("%s %s: told %+v", c.rules, c.channel, told)
		}
		only := guard.New(guard.Options{Rules: load(t, "version: 1\n"+c.rules), Tell: func(r guard.Record) { told = append(told, r) }})
		if d := only.Decide(t.Context(), request(c.channel, unix(1)), nil); d.Stopped {
			t.Errorf("%s %s is stopped though only observed: %+v", c.rules, c.channel, d)
		}
		if n := len(told); n > 0 && !c.allowed && (told[n-1].Decision.Effect == effect.Allow || told[n-1].Stopped) {
			t.Errorf("observed: %+v", told[n-1])
		}
	}
}

// TestOwners: who may start what somebody created.
func TestOwners(t *testing.T) {
	inside := unix(1)
	inside.Container = "d"
	login, other := unix(1), unix(1)
	one, two := uint32(1000), uint32(1001)
	login.LoginUID, other.LoginUID = &one, &two
	tls := func(name string) session.Actor { return session.Actor{Kind: session.ActorTLS, User: name} }
	nobody := session.Actor{Kind: session.ActorNone}
	process := unix(1)
	process.PID, process.Exe = 7, "/bin/other"
	for name, c := range map[string]struct {
		creator, starter session.Actor
		allowed          bool
	}{
		"the same":                   {unix(1), unix(1), true},
		"another process":            {unix(1), process, true},
		"another user":               {unix(1), unix(2), false},
		"the same from a container":  {unix(1), inside, false},
		"another login":              {login, other, false},
		"the same certificate":       {tls("ann"), tls("ann"), true},
		"another certificate":        {tls("ann"), tls("bob"), false},
		"certificates without names": {tls(""), tls(""), false},
		"nobody":                     {nobody, nobody, false},
	} {
		g := guard.New(guard.Options{Rules: load(t, "version: 1\ndefault: allow\n"), Enforce: true, Now: func() time.Time { return at }})
		g.Created(request(event.ChannelDockerExec, c.creator), "x")
		start := request(event.ChannelDockerExec, c.starter)
		start.ExecID = "x"
		if d := g.Decide(t.Context(), start, nil); !d.Stopped != c.allowed {
			t.Errorf("%s: %+v", name, d)
		}
		start.Target.ContainerID = "another"
		if d := g.Decide(t.Context(), start, nil); !d.Stopped {
			t.Errorf("%s, in another container: %+v", name, d)
		}
	}
}

// TestMisread: what nobody can read is refused, unless it is only observed.
func TestMisread(t *testing.T) {
	for _, enforce := range []bool{true, false} {
		var told guard.Record
		g := guard.New(guard.Options{Rules: load(t, "version: 1\ndefault: allow\n"), Enforce: enforce, Tell: func(r guard.Record) { told = r }})
		if got := g.Misread(request(event.ChannelUnknown, unix(1)), errors.New("twice")); got != enforce || told.Misread != "twice" || told.Stopped != enforce {
			t.Errorf("enforce %v: %v %+v", enforce, got, told)
		}
	}
}

// TestNameless: where nobody can be told, an exec that was created here may be
// started; where somebody could be, whoever cannot is another.
func TestNameless(t *testing.T) {
	none, ann := session.Actor{Kind: session.ActorNone}, session.Actor{Kind: session.ActorTLS, User: "ann"}
	for _, c := range []struct {
		nameless, known bool
		create, start   session.Actor
		allowed         bool
	}{
		{true, true, none, none, true},
		{true, false, none, none, false},
		{true, true, none, ann, false},
		{true, true, ann, none, false},
		{true, true, ann, ann, true},
		{false, true, none, none, false},
	} {
		g := guard.New(guard.Options{Rules: load(t, "version: 1\ndefault: allow\n"), Enforce: true, Nameless: c.nameless, Now: func() time.Time { return at }})
		if c.known {
			g.Created(request(event.ChannelDockerExec, c.create), "x")
		}
		s := request(event.ChannelDockerExec, c.start)
		s.ExecID = "x"
		if got := g.Decide(t.Context(), s, nil); got.Stopped == c.allowed {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
