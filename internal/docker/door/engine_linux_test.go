package door_test

import (
	"context"
	"encoding/binary"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// project is a stack of one container, by the door, with what it takes to run it.
func project(t *testing.T, d *doorway) (compose func(args ...string) *exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	s := &side{t: t, dir: dir}
	s.file("compose.yaml", "services:\n  web:\n    image: "+docker.Image+"\n    network_mode: none\n    stop_grace_period: 0s\n    labels: {env: prod}\n")
	compose = func(args ...string) *exec.Cmd {
		cmd := d.cli(t, append([]string{"compose", "--project-directory", dir, "-p", "enginestack"}, args...)...)
		cmd.Dir = dir
		return cmd
	}
	if out, err := compose("up", "-d").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Cleanup(func() { _ = d.engine.Remove(context.Background(), "enginestack-web-1") })
	return compose
}

// TestEngineDenied: whoever is refused is told why also by today's clients.
func TestEngineDenied(t *testing.T) {
	testbed.Require(t, testbed.Engine)
	e := docker.Shared(t)
	d := open(t, e, `
version: 1
default: allow
rules:
  - id: prod-shell
    when: 'session.kind == "exec" && session.target.labels["env"] == "prod" && basename(session.argv[0]) == "sh"'
    effect: deny
    severity: high
    message: "no {{.Command}} in {{.Target}}: ask the one on call"
`)
	compose := project(t, d)
	const why = "sallyport: denied by rule prod-shell: no sh -c id in enginestack-web-1: ask the one on call"
	dir := filepath.Dir((&side{t: t, dir: t.TempDir()}).file("Dockerfile", "FROM "+docker.Image+"\nRUN [\"/bin/true\"]\n"))
	const build = `sallyport: denied here: a build, whose commands cannot be seen, is allowed only by a rule that asks for session.channel == "DK-BUILD"`
	for name, c := range map[string]struct {
		cmd *exec.Cmd
		why string
	}{
		"docker exec":         {d.cli(t, "exec", "enginestack-web-1", "sh", "-c", "id"), why},
		"docker compose exec": {compose("exec", "-T", "web", "sh", "-c", "id"), why},
		"docker buildx build": {d.cli(t, "buildx", "build", dir), build},
		"docker build":        {d.cli(t, "build", dir), build},
	} {
		cmd := c.cmd
		cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT=1")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), c.why) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if out, err := compose("exec", "-T", "web", "/bin/echo", "fine").Output(); err != nil || string(out) != "fine\n" {
		t.Errorf("%v %s", err, out)
	}
}

// TestEngineRecorded: an exec of compose is recorded.
func TestEngineRecorded(t *testing.T) {
	testbed.Require(t, testbed.Engine)
	d, k := recorded(t, docker.Shared(t))
	compose := project(t, d)
	cmd := compose("exec", "-T", "web", "/bin/sh", "-c", "cat; echo err >&2; exit 7")
	cmd.Stdin = strings.NewReader("12345678\n")
	if out, err := cmd.Output(); string(out) != "12345678\n" {
		t.Errorf("%v %s", err, out)
	}
	taken, _, end, request := k.last(t)
	if taken != [3]string{"12345678\n", "12345678\n", "err\n"} || end.Exit == nil || *end.Exit != 7 || end.Why != "" {
		t.Errorf("%q %+v", taken, end)
	}
	if request.Kind != session.KindExec || request.Channel != event.ChannelDockerExec || request.Target.ContainerName != "enginestack-web-1" ||
		!strings.HasSuffix(request.Actor.Exe, "/docker-compose") {
		t.Errorf("%+v", request)
	}
}

// workers asks BuildKit by HTTP/2 without TLS, with nothing of Docker's API around it,
// which workers it has.
func (a *arena) workers() (*http.Response, error) {
	frame := binary.BigEndian.AppendUint32([]byte{0}, 0) // a message of no bytes
	return a.http2("POST", "/moby.buildkit.v1.Control/ListWorkers", string(frame), "Content-Type: application/grpc", "TE: trailers")
}

// TestEngineHTTP2: today's daemon speaks HTTP/2 without TLS, and BuildKit on it beside
// the API's routes. The door does not.
func TestEngineHTTP2(t *testing.T) {
	testbed.Require(t, testbed.Engine)
	e := docker.Shared(t)
	d := open(t, e, everything)
	res, err := (&arena{t: t, socket: e.Socket}).workers()
	if err != nil || res.StatusCode != http.StatusOK || res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("the daemon itself: %+v %v", res, err)
	}
	if res, err := (&arena{t: t, socket: d.socket}).workers(); err == nil {
		t.Errorf("by way of the door: %+v", res)
	}
	for _, r := range d.decided() {
		if !r.Stopped {
			t.Errorf("%+v", r)
		}
	}
	d = open(t, e, everything, func(_ *door.Options, g *guard.Options) { g.Enforce = false })
	if res, err := (&arena{t: t, socket: d.socket}).workers(); err == nil {
		t.Errorf("by way of a door that observes: %+v", res)
	}
}

// TestEngineBesidePlugin: what today's daemon serves beside its API it asks no plugin
// about. Once it does, Plugin.Beside and the guide say too little of the plugin.
func TestEngineBesidePlugin(t *testing.T) {
	testbed.Require(t, testbed.Engine)
	p := plug(t)
	p.judge.Use(load(t, "version: 1\ndefault: allow\n"))
	if out, err := p.run(t, "plugin", "disable", "x"); err == nil || !strings.Contains(out, "changing plugins is allowed only by a rule") {
		t.Errorf("the plugin is not asked: %v %s", err, out)
	}
	before := p.plugin.Stats().Requests.Load()
	res, err := (&arena{t: t, socket: p.socket}).workers()
	if err != nil || res.Trailer.Get("Grpc-Status") != "0" || p.plugin.Stats().Requests.Load() != before {
		t.Errorf("%+v %v, %d questions", res, err, p.plugin.Stats().Requests.Load()-before)
	}
}
