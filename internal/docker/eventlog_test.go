package docker_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
)

// TestEventLogForged: a label that is called like an attribute of Docker's
// overwrites it, in every event of the container.
func TestEventLogForged(t *testing.T) {
	const id = `"Actor":{"ID":"c","Attributes":{"execID":"e0","image":"i","name":"n"`
	ev := func(action, more string) string {
		return `{"Type":"container","Action":"` + action + `",` + id + more + `}},"timeNano":1795435200000000000}` + "\n"
	}
	for _, tc := range []struct {
		name, log string
		want      []string // of the exec events: what is forged
	}{
		{"nothing", ev("exec_create: a", "") + ev("exec_start: a", "") + ev("exec_die", `,"exitCode":"0"`), []string{"", "", ""}},
		{"labels known", ev("create", `,"exitCode":"0"`) + ev("exec_create: a", "") + ev("exec_die", `,"exitCode":"0"`), []string{"execID", "execID exitCode"}},
		{"an id twice", ev("exec_create: a", "") + ev("exec_create: b", "") + ev("exec_start: b", ""), []string{"", "execID", "execID"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, refused := story.Feed(t, docker.NewEventLog(), []byte(tc.log))
			var got []string
			for _, o := range out {
				if o, ok := o.(event.DockerEvent); ok && o.Action != event.DockerCreate {
					got = append(got, strings.Join(o.Forged, " "))
				}
			}
			if strings.Join(got, "|") != strings.Join(tc.want, "|") || refused > 0 {
				t.Errorf("forged %q, %d refused; want %q", got, refused, tc.want)
			}
		})
	}
}

func FuzzEventLog(f *testing.F) {
	f.Add(story.Raw(f, "docker-events", "docker-events.json"))
	f.Fuzz(func(t *testing.T, data []byte) { story.Feed(t, docker.NewEventLog(), data) })
}
