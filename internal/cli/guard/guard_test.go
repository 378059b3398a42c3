package guard

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy"
)

// What a guard cannot do of what rules ask for, it says at the start.
func TestGuardSaysWhatItCannot(t *testing.T) {
	of := func(id string, e ...effect.Effect) policy.Rule { return policy.Rule{ID: id, Effects: e} }
	on := &approving{address: "unix:///x", said: "group:oncall", wait: time.Minute}
	off := &approving{address: "off"}
	kept := []policy.Rule{of("a", effect.Deny), of("b", effect.Allow, effect.Alert)}
	more := []policy.Rule{of("a", effect.Record), of("b", effect.Allow, effect.Record), of("c", effect.Approve)}
	for _, c := range []struct {
		enforce     bool
		record      string
		second      *approving
		rules       []policy.Rule
		says, says2 string
		not         string
	}{
		{true, "", on, kept, "Enforcing", "approved by group:oncall: sallyport approvals --control unix:///x. Requests wait 1m0s for it.", "NO"},
		{true, "", on, more, "NOTHING IS RECORDED without --record DIR: what a, b asks to record", "approved by group:oncall", "NOBODY"},
		{true, "/x", on, more, "Enforcing", "approved by group:oncall", "NOTHING"},
		{true, "", off, more, "what a, b asks to record", "NOBODY CAN APPROVE with --control off: what c asks approval for is denied", "approved by"},
		{true, "", off, kept, "Enforcing", "", "NO"},
		{false, "", on, kept, "OBSERVING ONLY", "", "approved by"},
	} {
		g := settings{kind: atSocket, enforce: c.enforce, record: c.record}
		got := g.mode(c.second, c.rules)
		if !strings.Contains(got, c.says) || !strings.Contains(got, c.says2) || strings.Contains(got, c.not) {
			t.Errorf("%q: want %q, %q and not %q", got, c.says, c.says2, c.not)
		}
	}
}

// A guard that enforces does not take rules that ask to record when it cannot.
func TestGuardRefusesRulesItCannotKeep(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ndefault: allow\nrules: [{id: tape, when: 'session.tty', effect: record}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config  settings
		refused bool
	}{
		{settings{kind: atSocket, rules: file}, false},
		{settings{kind: atSocket, rules: file, enforce: true}, true},
		{settings{kind: atSocket, rules: file, enforce: true, record: "/x"}, false},
		{settings{kind: atPlugin, rules: file, enforce: true}, true},
		{settings{kind: atPlugin, rules: file}, false},
	} {
		if _, err := c.config.load(); (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "tape") {
			t.Errorf("enforce %t, record %q: %v", c.config.enforce, c.config.record, err)
		}
	}
}

// TestApprovers: who may approve, and which group the control socket is for.
func TestApprovers(t *testing.T) {
	for _, c := range []struct {
		list, group string
		uids, gids  int
		fails       string
	}{
		{"user:root", "", 1, 0, ""},
		{"user:0,group:0", "0", 1, 1, ""},
		{"group:4321, group:2, user:7", "4321", 1, 2, ""},
		{"user:4321", "", 0, 0, "--control-group"},
		{"user:nobody-of-this-name", "", 0, 0, "unknown user"},
		{"group:nobody-of-this-name", "", 0, 0, "unknown group"},
		{"root", "", 0, 0, "--approvers"},
		{"user:", "", 0, 0, "--approvers"},
		{"", "", 0, 0, "--approvers"},
		{"user:-1", "", 0, 0, "unknown user"},
	} {
		a, err := approvalConfig{approvers: c.list, control: "unix:///x"}.prepare(nil)
		if c.fails != "" {
			var f *exit.Error
			if !errors.As(err, &f) || f.Code != exit.Usage || !strings.Contains(err.Error()+f.Hint(), c.fails) {
				t.Errorf("%q: %v, want %q", c.list, err, c.fails)
			}
			continue
		}
		if err != nil || a.door.group != c.group || len(a.approvers.UIDs) != c.uids || len(a.approvers.GIDs) != c.gids {
			t.Errorf("%q: %+v %v", c.list, a, err)
		}
	}
	for _, c := range []approvalConfig{
		{approvers: "user:root", control: "tcp://127.0.0.1:1"},
		{approvers: "user:root", control: "unix://x"},
		{approvers: "user:root", control: "unix:///x", wait: -1},
		{approvers: "user:root", control: "unix:///x", wait: 2 * time.Hour},
		{approvers: "user:root", control: "off", webhook: "http://127.0.0.1:1/"},
		{approvers: "user:root", control: "unix:///x", webhook: "http://127.0.0.1:1/"},
		{approvers: "user:root", control: "unix:///x", webhook: "http://u:p@127.0.0.1:1/"},
	} {
		if a, err := c.prepare(nil); err == nil {
			t.Errorf("%+v: %+v", c, a)
		}
	}
	if a, err := (approvalConfig{control: "off"}).prepare(nil); err != nil || len(a.approvers.UIDs) != 0 {
		t.Errorf("%+v %v", a, err)
	}
}

// TestListens: a guard says at its start whether anybody answers where it is to send
// requests.
func TestListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !listens("tcp", l.Addr().String()) {
		t.Error("nobody answers at an open door")
	}
	l.Close()
	if listens("tcp", l.Addr().String()) {
		t.Error("somebody answers at a closed door")
	}
	if listens("unix", filepath.Join(t.TempDir(), "none.sock")) {
		t.Error("somebody answers where no socket is")
	}
}
