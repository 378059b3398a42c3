package daemonlog_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker/daemonlog"
)

// commands returns, by the first digit of the exec id, the command that the
// reader thinks an exec ran; "?" for none.
func commands(t *testing.T, log string) map[string]string {
	t.Helper()
	out, refused := story.Feed(t, daemonlog.New(), []byte(log))
	if refused > 0 {
		t.Fatalf("%d lines refused", refused)
	}
	got := map[string]string{}
	for _, o := range out {
		switch o := o.(type) {
		case event.DockerEvent:
			got[string(o.ExecID[:1])] = "?"
		case event.DockerExec:
			got[string(o.ID[:1])] = strings.Join(o.Argv, " ")
		}
	}
	return got
}

// TestPairing: what was asked for is told of an exec only when it can be of no
// other.
func TestPairing(t *testing.T) {
	line := func(msg string) string {
		return `time="2026-11-23T12:00:00.000000001Z" level=debug msg="` + strings.ReplaceAll(msg, `"`, `\"`) + "\"\n"
	}
	id := func(x string) string { return strings.Repeat(x, 64) }
	create := func(cmd string) string {
		return line("Calling POST /v1.41/containers/web/exec") + line(`form data: {"Cmd":["`+cmd+`"],"Tty":false}`)
	}
	call := func(x string) string {
		return line("Calling POST /v1.41/exec/"+id(x)+"/start") + line(`form data: {"Detach":false}`)
	}
	run := func(x string) string { return line("starting exec command " + id(x) + " in container " + id("c")) }
	for _, tc := range []struct {
		name, log string
		want      map[string]string
	}{
		{"one after the other", create("a") + call("1") + run("1") + create("b") + call("2") + run("2"), map[string]string{"1": "a", "2": "b"}},
		{"two at a time", create("a") + create("b") + call("1") + call("2") + run("1") + run("2") + create("c") + call("3") + run("3"), map[string]string{"1": "?", "2": "?", "3": "c"}},
		{"one left over", create("a") + create("b") + call("1") + run("1") + create("c") + call("2") + run("2"), map[string]string{"1": "?", "2": "?"}},
		{"a health check between", create("a") + run("f") + call("1") + run("1"), map[string]string{"f": "?", "1": "a"}},
		{"no body", line("Calling POST /v1.41/containers/web/exec") + call("1") + run("1"), map[string]string{"1": "?"}},
		{"another container", line("Calling POST /containers/"+id("d")+"/exec") + line(`form data: {"Cmd":["a"]}`) + call("1") + run("1"), map[string]string{"1": "?"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := commands(t, tc.log)
			for x, want := range tc.want {
				if got[x] != want {
					t.Errorf("exec %s: %q, want %q", x, got[x], want)
				}
			}
		})
	}
}

func TestForms(t *testing.T) {
	for _, l := range []string{
		`time="2026-11-23T12:00:00Z" level=info msg=short`,
		`Nov 23 12:00:00 edge1 dockerd[900]: time="2026-11-23T12:00:00.5Z" level=debug msg="a \"b\""`,
		`{"level":"debug","msg":"x","time":"2026-11-23T12:00:00.5Z"}`,
	} {
		if !daemonlog.Sniff([]byte(l)) {
			t.Errorf("%s is not known", l)
		}
	}
	for _, l := range []string{``, `time="yesterday" level=info msg=x`, `level=info msg=x`, `{"msg":"x","msg":"y","level":"a","time":"2026-11-23T12:00:00Z"}`} {
		if daemonlog.Sniff([]byte(l)) {
			t.Errorf("%s is taken", l)
		}
	}
}
