package docker

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/events"

	"github.com/sallyport/sallyport/internal/core/event"
)

func TestTranslate(t *testing.T) {
	at := time.Unix(1700000000, 123456789).UTC()
	message := func(action string, attributes map[string]string) *events.Message {
		return &events.Message{
			Type: "container", Action: events.Action(action), Time: at.Unix(), TimeNano: at.UnixNano(),
			Actor: events.Actor{ID: "c1", Attributes: attributes},
		}
	}
	three := 3
	for _, c := range []struct {
		name string
		m    *events.Message
		want event.DockerEvent
	}{
		{"command with separators", message("exec_create: sh -c a: b\n ", map[string]string{"execID": "e", "name": "n", "image": "i"}),
			event.DockerEvent{Action: event.DockerExecCreate, ExecID: "e", Name: "n", Image: "i", Command: "sh -c a: b\n "}},
		{"no arguments: Docker leaves a blank", message("exec_start: ls ", map[string]string{"execID": "e"}),
			event.DockerEvent{Action: event.DockerExecStart, ExecID: "e", Command: "ls "}},
		{"too long a command is absent", message("exec_start: "+strings.Repeat("x", maxArgv+1), nil),
			event.DockerEvent{Action: event.DockerExecStart}},
		{"end", message("exec_die", map[string]string{"execID": "e", "exitCode": "3"}),
			event.DockerEvent{Action: event.DockerExecDie, ExecID: "e", ExitCode: &three}},
		{"exit code that is none", message("die", map[string]string{"exitCode": "3; rm"}), event.DockerEvent{Action: event.DockerDie}},
		{"health", message("health_status: healthy", nil), event.DockerEvent{Action: event.DockerHealth, Health: "healthy"}},
		{"copy", message("extract-to-dir", nil), event.DockerEvent{Action: event.DockerCopyIn}},
		{"unknown", message("exec_create_2: ls", nil), event.DockerEvent{Action: event.DockerOtherAction}},
		{"only seconds", &events.Message{Action: "start", Time: 5, Actor: events.Actor{ID: "c1"}}, event.DockerEvent{
			Header: header(time.Unix(5, 0)), Action: event.DockerStart}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Container = "c1"
			c.want.Witness = event.WitnessDocker
			if c.want.Time.IsZero() {
				c.want.Time = at
			}
			if diff := cmp.Diff(c.want, translate(c.m)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestForged(t *testing.T) {
	f := forgeableOf(map[string]string{"execID": "feed", "image": "other", "color": "red"})
	m := &events.Message{Actor: events.Actor{Attributes: map[string]string{
		"execID": "feed", "exitCode": "0", "name": "n", "image": "true-image", "color": "red",
	}}}
	if got := f.forged(m); !slices.Equal(got, []string{"execID"}) {
		t.Errorf("forged %q: the image is not the label's, the rest has no label", got)
	}
	if got := unvouched(m); !slices.Equal(got, []string{"execID", "exitCode"}) {
		t.Errorf("unvouched %q", got)
	}
}

func TestCursor(t *testing.T) {
	c := newCursor()
	at := func(n int) *events.Message { return &events.Message{Action: "start", TimeNano: int64(n)} }
	for n := range 3 * len(c.recent) {
		if !c.pass(at(n)) {
			t.Fatalf("event %d is new", n)
		}
		for back := range min(n+1, ring) {
			if c.pass(at(n - back)) {
				t.Fatalf("event %d was heard", n-back)
			}
		}
	}
	if len(c.known) != len(c.recent) {
		t.Errorf("%d keys are kept", len(c.known))
	}
}

func TestHealthcheck(t *testing.T) {
	for _, c := range []struct {
		config string
		want   *event.Healthcheck
	}{
		{`{}`, nil},
		{`{"Healthcheck":{"Test":["NONE"]}}`, nil},
		{`{"Healthcheck":{"Test":[]}}`, nil},
		{`{"Healthcheck":{"Test":["CMD","a","b c"],"Interval":5000000000}}`, &event.Healthcheck{Argv: []string{"a", "b c"}, Interval: event.Duration(5 * time.Second)}},
		{`{"Healthcheck":{"Test":["CMD-SHELL","a b"]}}`, &event.Healthcheck{Argv: []string{"/bin/sh", "-c", "a b"}, Interval: event.Duration(30 * time.Second)}},
		{`{"Shell":["/bin/ash","-eo","pipefail","-c"],"Healthcheck":{"Test":["CMD-SHELL","a b"]}}`,
			&event.Healthcheck{Argv: []string{"/bin/ash", "-eo", "pipefail", "-c", "a b"}, Interval: event.Duration(30 * time.Second)}},
	} {
		var v containerJSON
		if err := json.Unmarshal([]byte(`{"Config":`+c.config+`}`), &v); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, v.healthcheck()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.config, diff)
		}
	}
}

func TestBounds(t *testing.T) {
	if argv([]string{"x", strings.Repeat("y", maxArgv)}) != nil {
		t.Error("an argument list over the bound is kept")
	}
	many := map[string]string{"long": strings.Repeat("x", maxLabel)}
	for n := range 1000 {
		many[strings.Repeat("k", n)] = "v"
	}
	n := 0
	for k, v := range labels(many) {
		n += len(k) + len(v)
	}
	if n > maxLabelBytes || n < maxLabelBytes/2 {
		t.Errorf("%d bytes of labels are kept", n)
	}
}

// FuzzEvent reads arbitrary events.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{
		`{"Type":"container","Action":"exec_create: sh -c echo hi","Actor":{"ID":"c","Attributes":{"execID":"e","image":"i","name":"n"}},"scope":"local","time":1,"timeNano":1000000001}`,
		`{"Type":"container","Action":"exec_die","Actor":{"ID":"c","Attributes":{"execID":"feed","exitCode":"0"}},"timeNano":-1}`,
		`{"Type":"container","Action":"health_status: healthy","Actor":{"Attributes":null}}`,
		`{"Type":"network","Action":"connect"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m events.Message
		if json.Unmarshal(b, &m) != nil {
			return
		}
		o := translate(&m)
		labels, _ := forgeableIn(&m)
		o.Forged = append(labels.forged(&m), unvouched(&m)...)
		check(t, o)
		if c := newCursor(); !c.pass(&m) || c.pass(&m) {
			t.Error("an event is new once")
		}
		if len(o.Container) > maxName || len(o.ExecID) > maxName || len(o.Name) > maxName || len(o.Command) > maxArgv {
			t.Error("a string is over its bound")
		}
	})
}

// FuzzInspect reads arbitrary answers to inspects.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(`{"Id":"c","Name":"/n","Created":"2026-01-01T00:00:00.1Z","Path":"sh","Args":["-c"],"State":{"Running":true,"Pid":7,"StartedAt":"2026-01-01T00:00:00Z"},"Config":{"Labels":{"a":"b"},"Healthcheck":{"Test":["CMD-SHELL","x"]}},"HostConfig":{"RestartPolicy":{"Name":"always"}},"ExecIDs":["e"]}`))
	f.Add([]byte(`{"ID":"e","ContainerID":"c","Running":false,"ExitCode":null,"ProcessConfig":{"entrypoint":"ls","arguments":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		at := time.Unix(1, 0)
		var c containerJSON
		if json.Unmarshal(b, &c) == nil {
			check(t, c.observation(at))
		}
		var e execJSON
		if json.Unmarshal(b, &e) == nil {
			check(t, e.observation(at))
		}
	})
}
