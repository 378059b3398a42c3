package view

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

func TestFold(t *testing.T) {
	zero, one := 0, 1
	probe := func(id session.ID, code *int) session.Session {
		return session.Session{
			ID: id, Kind: session.KindProbe, State: session.StateEnded, ExitCode: code, Argv: []string{"/bin/check"},
			Actor: session.Actor{Service: event.ServiceKubelet}, Target: session.Target{ContainerID: "c"},
		}
	}
	odd := probe("odd", &zero)
	odd.Unexplained = session.Unexplained{Is: true, Reason: "out of phase"}
	canary := func(id session.ID, pod string, state session.State) session.Session {
		return session.Session{
			ID: id, Kind: session.KindExec, State: state, Argv: []string{"sallyport-canary"},
			Actor: session.Actor{User: "watch"}, Target: session.Target{Namespace: "sallyport-canary", Pod: pod},
		}
	}
	rows := []session.Session{
		canary("e", "canary-1", session.StateFailed), canary("ran", "canary-2", session.StateEnded), canary("f", "canary-3", session.StateFailed),
		probe("a", &zero), {ID: "exec", Kind: session.KindExec}, probe("b", &zero), odd, probe("c", &one), probe("d", &zero),
	}
	var got string
	for _, r := range Fold(rows) {
		got += string(r.ID) + string(rune('0'+r.times)) + " "
	}
	if want := "ran1 f2 exec1 odd1 c1 d3 "; got != want {
		t.Errorf("got %q, want %q: routine is one line, what is odd or failed stands out", got, want)
	}
	if n := len(OnePerLine(rows)); n != len(rows) {
		t.Errorf("onePerLine gives %d lines", n)
	}
}
