package starts

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestEntrance: a command has begun when every exec that the runtime was asked
// for so far was made, or every process of its argv ran.
func TestEntrance(t *testing.T) {
	for name, tt := range map[string]struct {
		marks string // a/A/R: asked for as stream/probe/run, with argv; m: made; r: ran, of process 1 as r1
		want  string // argv and time of what has begun, in order of being told
	}{
		"asked":                        {"a:x", ""},
		"made":                         {"a:x m", "x@0"},
		"a probe at the same time":     {"a:x A:x m", ""},
		"both made":                    {"a:x A:x m m", "x@0"},
		"both ran, no word of execs":   {"a:x A:x r:x r:x", "x@0"},
		"one of two ran":               {"a:x A:x r:x", ""},
		"a probe alone":                {"A:x m r:x", ""},
		"a run":                        {"R:x m", "x@0 run"},
		"two streams":                  {"a:x a:y m m", "x@0 y@1"},
		"one after the other":          {"a:x m a:x m", "x@0 x@2"},
		"nobody was seen asking":       {"r:x", "x@0"},
		"an exec of nobody's":          {"m a:x", ""},
		"made, then its process":       {"a:x m r:x", "x@0"},
		"a script's name is another's": {"a:x m r:sh", "x@0 sh@2"},
		"a script that ends with exec": {"a:s a:x m m r1:sh r1:x a:x r:x", "s@0 x@1 sh@4"}, // the last to run is the first x
	} {
		t.Run(name, func(t *testing.T) {
			marks := parseMarks(tt.marks)
			if got := tellAll(marks); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestEntranceInAnyOrder: what the witnesses tell of late changes nothing, as
// long as no process is told of before the request for it.
func TestEntranceInAnyOrder(t *testing.T) {
	for _, s := range []string{"a:x A:x m m", "a:x m a:x m", "a:x a:y m m"} {
		marks := parseMarks(s)
		want := strings.Fields(tellAll(marks))
		for range 20 {
			rand.Shuffle(len(marks), func(i, j int) { marks[i], marks[j] = marks[j], marks[i] })
			got := strings.Fields(tellAll(marks))
			if len(got) != len(want) {
				t.Errorf("%s as %v: %v, want %v", s, marks, got, want)
			}
		}
	}
}

var marksBegin = time.Unix(0, 0)

func parseMarks(s string) (out []mark) {
	for i, f := range strings.Fields(s) {
		kind, argv, _ := strings.Cut(f, ":")
		m := mark{at: marksBegin.Add(time.Duration(i) * time.Millisecond), argv: argv}
		m.process = event.ProcessID{PID: uint32(100 + i)}
		if kind == "r1" {
			kind, m.process.PID = "r", 1
		}
		m.asked = map[string]askedAs{"A": asProbe, "R": asRun}[kind]
		m.what = map[string]markKind{"m": markMade, "r": markRan}[kind]
		out = append(out, m)
	}
	return out
}

func tellAll(marks []mark) string {
	var e entrance
	var out []string
	for _, m := range marks {
		for _, b := range e.add(m) {
			out = append(out, fmt.Sprintf("%s@%d", joined(b.argv), b.at.Sub(marksBegin).Milliseconds()))
			if b.run {
				out = append(out, "run")
			}
		}
	}
	return strings.Join(out, " ")
}
