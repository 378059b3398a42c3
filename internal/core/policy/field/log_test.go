package field

import (
	"testing"
	"time"

	"cel.dev/cel-go/common/types"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/value"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestWhatALogDoesNotSayIsUnknown: a session that only another tool's log tells
// of must not fail to match for what that log leaves out.
func TestWhatALogDoesNotSayIsUnknown(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := &session.Session{
		Kind: session.KindExec, Channel: event.ChannelUnknown, State: session.StateUnknown,
		Argv: []string{"sh -c id"}, ArgvSource: "log", ProcessesTotal: 1,
		Processes: []session.Process{{
			ID: event.LoggedProcess(7, at), PID: 7, Argv: []string{"sh -c id"}, ArgvJoined: true, NoUID: true, NoGID: true,
		}},
	}
	v := &View{}
	v.Begin(s, &s.Actor, false)
	if argv, rest := v.argv(); argv != nil || rest == nil {
		t.Errorf("argv is %q, %v", argv, rest)
	}
	if got := v.command(); got.Value() != "sh -c id" {
		t.Errorf("command is %v", got)
	}
	if v.moreProcesses() == nil {
		t.Error("more processes are ruled out")
	}
	if got := v.tty(); !types.IsUnknown(got) {
		t.Errorf("tty is %v", got)
	}
	for _, f := range processFields() {
		got := f.get(&s.Processes[0])
		switch f.Name {
		case "uid", "gid":
			if !types.IsUnknown(got) {
				t.Errorf("%s is %v", f.Name, got)
			}
		case "argv":
			if l := got.(*value.List); l.N != 0 || l.Rest == nil {
				t.Errorf("argv is %+v", l)
			}
		}
	}
}
