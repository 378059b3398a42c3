package guard_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
)

// TestBegins: what was let through in front of the daemon begins once, soon, where and
// as it was asked for; the rest is judged.
func TestBegins(t *testing.T) {
	now := at
	g := guard.New(guard.Options{
		Rules: load(t, "version: 1\ndefault: allow\nrules: [{id: no, when: 'session.argv == [\"no\"]', effect: deny, severity: low}]"), Enforce: true,
		Now: func() time.Time { return now },
	})
	exec := func(id event.ExecID, argv ...string) *session.Session {
		create := request(event.ChannelDockerExec, unix(1))
		create.Argv = argv
		if g.Decide(t.Context(), create, nil).Stopped {
			return nil
		}
		g.Created(create, string(id))
		start := request(event.ChannelDockerExec, unix(1))
		start.ExecID, start.Argv = id, argv
		g.Decide(t.Context(), start, nil)
		begins := request(event.ChannelRuntimeCtr, session.Actor{Kind: session.ActorNone})
		begins.ExecID, begins.Argv = id, argv
		return begins
	}
	check := func(what string, s *session.Session, goesOn bool) {
		t.Helper()
		if v := g.Begins(t.Context(), s); v.Stopped == goesOn {
			t.Errorf("%s: %+v", what, v)
		}
	}
	e := exec("e1", "id")
	check("an exec that was let through", e, true)
	check("the same once more", e, false)
	e = exec("e2", "id")
	e.Argv = []string{"sh"}
	check("another command", e, false)
	e.Argv, e.Target.ContainerID = []string{"id"}, "other"
	check("another container", e, false)
	e.Target.ContainerID = "c"
	check("the one that was let through, after those", e, true)
	e = exec("e3", "id")
	now = now.Add(time.Hour)
	check("an hour later", e, false)
	if exec("e4", "no") != nil {
		t.Error("it was not let through at all")
	}

	start := request(event.ChannelDockerStart, unix(1))
	start.Kind = session.KindStart
	g.Decide(t.Context(), start, nil)
	begins := request(event.ChannelRuntimeRun, session.Actor{Kind: session.ActorNone})
	begins.Kind = session.KindRuntime
	check("a container of that id which is not the daemon's", begins, false)
	begins.Kind, begins.Channel, begins.Argv = session.KindStart, event.ChannelDockerStart, []string{"no"}
	check("a start that was let through", begins, true)
	check("the daemon's own start, which a rule denies", begins, false)
	begins.Argv = []string{"id"}
	check("the daemon's own start", begins, true)
}
