package view

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// TestTableFits: from 60 columns on, no line is wider than the terminal, no
// matter what the sessions hold, and no line does anything to it.
func TestTableFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(60, 200).Draw(t, "width")
		var list []session.Session
		for range rapid.IntRange(1, 5).Draw(t, "sessions") {
			list = append(list, session.Session{
				ID: "abcdefghijklmnop", Kind: session.KindHealthcheck, Channel: event.ChannelDockerStart, State: session.StateRunning,
				Actor:       session.Actor{User: rapid.String().Draw(t, "user")},
				Attribution: session.Attribution{Level: session.LevelStrong},
				Target:      session.Target{ContainerName: rapid.String().Draw(t, "container")},
				Argv:        rapid.SliceOf(rapid.String()).Draw(t, "argv"),
				Unexplained: session.Unexplained{Is: rapid.Bool().Draw(t, "unexplained"), Reason: rapid.String().Draw(t, "reason")},
			})
		}
		var out bytes.Buffer
		if err := (Renderer{Width: width, Zone: time.UTC}).table(&out, OnePerLine(list)); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(list)+1 {
			t.Fatalf("%d lines for %d sessions", len(lines), len(list))
		}
		for _, line := range lines {
			if n := printable.Width(line); n > width {
				t.Fatalf("%d columns on a terminal of %d: %q", n, width, line)
			}
		}
	})
}
