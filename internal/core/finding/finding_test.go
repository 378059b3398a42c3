package finding

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Ids are kept by stores and by other systems: they must never change.
func TestIDsStayTheSame(t *testing.T) {
	if got := NewID("prod-shell", "abcdefghijklmnop"); got != "pop7u4zrfapqdfie" {
		t.Errorf("id %q", got)
	}
	if NewID("a", "bc") == NewID("ab", "c") || NewID("a\x00b", "c") == NewID("a", "b\x00c") {
		t.Error("two subjects have one id")
	}
}

func TestSeverities(t *testing.T) {
	for i, s := range Severities() {
		text, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Severity
		if err := back.UnmarshalText(text); err != nil || back != s || int(s) != i {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	if !(Info < Low && Low < Medium && Medium < High && High < Critical) {
		t.Error("the severities are not in order")
	}
	if _, err := Severity(9).MarshalText(); err == nil {
		t.Error("wrote a severity that there is not")
	}
	if _, err := ParseSeverity("High"); err == nil {
		t.Error("read a severity that there is not")
	}
}

func TestAboutASession(t *testing.T) {
	uid := uint32(1000)
	at := time.Date(2026, 11, 2, 3, 4, 5, 0, time.UTC)
	s := session.Session{
		ID: "abcdefghijklmnop", Kind: session.KindExec, Channel: "DK-EXEC", Started: at,
		Attribution: session.Attribution{Level: session.LevelSet, Candidates: []session.Actor{
			{Kind: session.ActorUnix, User: "ann"}, {Kind: session.ActorUnix, UID: &uid}, {Kind: session.ActorUnix, User: "ann"},
		}},
		Actor:    session.Actor{Kind: session.ActorNone, Address: "192.0.2.1"},
		Target:   session.Target{ContainerID: "c1", ContainerName: "web"},
		Argv:     []string{"sh", "-c", "id\xff"},
		Evidence: []session.Evidence{{Time: at, Witness: "docker", What: "docker_event exec_create"}},
	}
	f := Finding{
		Rule: "shell", Severity: High, Title: "A shell", Effect: effect.Deny, Unknown: []string{"session.actor.user"},
		Attack: []attack.Technique{attack.T1609},
	}
	f.About(&s)
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetIndent("", "  ")
	if err := enc.Encode(f); err != nil {
		t.Fatal(err)
	}
	const want = `{
  "id": "` + "ID" + `",
  "rule": "shell",
  "severity": "high",
  "title": "A shell",
  "time": "2026-11-02T03:04:05Z",
  "subject": "abcdefghijklmnop",
  "session": "abcdefghijklmnop",
  "channel": "DK-EXEC",
  "kind": "exec",
  "actor": {
    "kind": "none",
    "attribution": "set",
    "candidates": [
      "ann",
      "uid 1000"
    ],
    "address": "192.0.2.1"
  },
  "target": {
    "container_id": "c1",
    "container_name": "web"
  },
  "command": [
    "sh",
    "-c",
    "id` + "\uFFFD" + `"
  ],
  "effect": "deny",
  "unknown": [
    "session.actor.user"
  ],
  "evidence": [
    {
      "time": "2026-11-02T03:04:05Z",
      "source": "docker",
      "what": "docker_event exec_create"
    }
  ],
  "attack": [
    "T1609"
  ]
}
`
	if diff := cmp.Diff(strings.Replace(want, "ID", string(NewID("shell", "abcdefghijklmnop")), 1), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLongCommandsAreCut(t *testing.T) {
	for _, argv := range [][]string{
		{strings.Repeat("x", MaxCommand+1)},
		append([]string{strings.Repeat("x", MaxCommand-1)}, "y"),
		strings.Split(strings.Repeat("ab,", MaxCommand), ","),
	} {
		var f Finding
		f.About(&session.Session{Argv: argv})
		if n := len(strings.Join(f.Command, " ")); !f.CommandTruncated || n > MaxCommand {
			t.Errorf("%d bytes, truncated %v", n, f.CommandTruncated)
		}
	}
	var f Finding
	if f.About(&session.Session{Argv: []string{"sh", ""}}); f.CommandTruncated || len(f.Command) != 2 {
		t.Errorf("%q, truncated %v", f.Command, f.CommandTruncated)
	}
}
