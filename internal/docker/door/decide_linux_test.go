package door_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed/docker"
)

// TestDenied: whoever is refused is told why, in Docker's own form, and the
// decision has what was asked for, of what, and by whom.
func TestDenied(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, `
version: 1
default: allow
rules:
  - id: prod-shell
    when: 'session.kind == "exec" && session.target.labels["env"] == "prod" && basename(session.argv[0]) in ["sh", "bash"]'
    effect: deny
    severity: high
    message: "{{.Actor}} may not run {{.Command}} in {{.Target}}: ask the one on call"
  - {id: not-yours, when: 'session.actor.uid == 1002 && session.kind != "request"', effect: deny, severity: low}
`)
	id := e.RunT(t, "--label", "env=prod", "--name", "door-prod", docker.Image)
	out, err := d.run(t, "exec", "door-prod", "/bin/sh", "-c", "id")
	if err == nil || !strings.Contains(out, "Error response from daemon: sallyport: denied by rule prod-shell: root may not run /bin/sh -c id in door-prod: ask the one on call") {
		t.Fatalf("%v %s", err, out)
	}
	d.must(t, "exec", "door-prod", "/bin/true")
	cmd := docker.As(d.cli(t, "exec", "door-prod", "/bin/true"), 1002)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "denied by rule not-yours") {
		t.Errorf("%v %s", err, out)
	}
	cmd = docker.As(d.cli(t, "ps"), 1002)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
	r := d.decided()[0]
	s := r.Request
	if !r.Stopped || r.Decision.Rule != "prod-shell" || r.Decision.Effect != effect.Deny || s.Channel != event.ChannelDockerExec ||
		string(s.Target.ContainerID) != id || s.Target.ContainerName != "door-prod" || s.Target.Image != docker.Image || !strings.HasPrefix(s.Target.ImageID, "sha256:") ||
		s.Actor.User != "root" || s.Actor.PID == 0 || !strings.HasSuffix(s.Actor.Exe, "/docker") || !strings.Contains(s.Actor.UserAgent, "Docker-Client/") ||
		s.Attribution.Level != session.LevelExact || strings.Join(s.Argv, " ") != "/bin/sh -c id" || s.ID == "" {
		t.Errorf("%+v", r)
	}
}

// TestOwner: an exec is one request with one owner, and is judged again when it is
// started.
func TestOwner(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, "version: 1\ndefault: allow\n")
	id := e.RunT(t, docker.Image)
	make := func() string {
		return execOn(t, d.socket, id, `{"Cmd":["/bin/touch","/tmp/x"],"Env":["LD_PRELOAD=/x.so"]}`)
	}
	start := func(x string) string {
		return request("POST /exec/"+x+"/start", `{"Detach":true}`, "Connection: close")
	}

	x := make()
	if out := d.as(t, 1001, start(x)); !strings.Contains(out, " 403 ") || !strings.Contains(out, "starting an exec that somebody else created") {
		t.Errorf("another: %s", out)
	}
	if out := d.as(t, 0, start(x)); !strings.Contains(out, " 200 ") {
		t.Errorf("the same in another process: %s", out)
	}
	last := d.decided()[len(d.decided())-1].Request
	if last.Created == nil || last.ArgvSource != "request" || len(last.Carried) != 1 || last.Carried[0].Name != "LD_PRELOAD" {
		t.Errorf("what was created is not judged again: %+v", last)
	}
	beside := execOn(t, e.Socket, id, `{"Cmd":["/bin/true"]}`)
	if out := d.as(t, 0, start(beside)); !strings.Contains(out, " 403 ") {
		t.Errorf("made beside the door: %s", out)
	}
	x = make()
	d.judge.Use(load(t, `
version: 1
default: allow
rules:
  - {id: touch, when: '"/bin/touch" in session.argv', effect: deny, severity: high}
`))
	if out := d.as(t, 0, start(x)); !strings.Contains(out, "denied by rule touch") {
		t.Errorf("by new rules: %s", out)
	}
	d.judge.Use(load(t, `
version: 1
default: deny
rules:
  - {id: any, when: 'session.actor.uid == 1001', effect: allow}
`))
	if out := d.as(t, 1001, start(x)); !strings.Contains(out, " 403 ") {
		t.Errorf("a rule that does not name it: %s", out)
	}
	d.judge.Use(load(t, `
version: 1
default: deny
rules:
  - {id: split, when: 'session.channel == "DK-EXEC-SPLIT" && session.actor.uid == 1001', effect: allow}
`))
	if out := d.as(t, 1001, start(x)); !strings.Contains(out, " 200 ") {
		t.Errorf("a rule that names it: %s", out)
	}
	if out := d.as(t, 1001, request("GET /containers/json", "", "Connection: close")); !strings.Contains(out, " 200 ") {
		t.Errorf("a list, denied by default: %s", out)
	}
	if out := d.as(t, 1001, request("POST /containers/"+id+"/stop", "", "Connection: close")); !strings.Contains(out, "denied by default") {
		t.Errorf("a stop, denied by default: %s", out)
	}
}

// TestObserve: what is only observed goes on, also what nobody can read, and is
// told of as what it is.
func TestObserve(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, "version: 1\ndefault: deny\n", func(_ *door.Options, g *guard.Options) { g.Enforce = false })
	id := e.RunT(t, docker.Image)
	d.must(t, "exec", id, "/bin/true")
	body := `{"Cmd":["/bin/false"],"cmd":["/bin/touch","/tmp/FORBIDDEN"]}`
	if out := d.as(t, 0, request("POST /containers/"+id+"/exec", body, "Connection: close")); !strings.Contains(out, " 201 ") {
		t.Errorf("misread: %s", out)
	}
	cp := d.must(t, "cp", id+":/bin/busybox", "-")
	if len(cp) < 1<<10 {
		t.Errorf("%d bytes", len(cp))
	}
	kinds := map[session.Kind]int{}
	misread := 0
	for _, r := range d.decided() {
		if r.Stopped || r.Decision.Effect != effect.Deny {
			t.Errorf("%+v", r)
		}
		kinds[r.Request.Kind]++
		if r.Misread != "" {
			misread++
		}
	}
	if kinds[session.KindExec] != 3 || kinds[session.KindCopy] != 1 || misread != 1 {
		t.Errorf("%v, %d misread", kinds, misread)
	}
}

// TestFacts: the door is a witness as the kernel's sensor is one: of the same
// requests it says the same.
func TestFacts(t *testing.T) {
	e := docker.Shared(t)
	d := open(t, e, everything)
	id := e.RunT(t, docker.Image)
	d.must(t, "exec", "-i", id, "/bin/sleep", "0.5")
	eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		var create, start event.DockerRequest
		var made bool
		var began, ended time.Time // of the stream
		for _, f := range d.facts {
			switch f := f.(type) {
			case event.DockerRequest:
				if f.Op == event.OpExecCreate {
					create = f
				}
				if f.Op == event.OpExecStart {
					start = f
				}
			case event.DockerAnswer:
				made = made || f.Op == event.OpExecCreate && f.Created != "" && f.Status == 201
				if f.Op == event.OpExecStart && f.Status == 101 {
					began = f.Time
				}
			case event.ClientClose:
				if start.ExecID != "" && f.Conn == start.ID.Conn {
					ended = f.Time
				}
			}
		}
		return made && !began.IsZero() && ended.Sub(began) > 400*time.Millisecond && create.Certain && create.Ref == id && strings.Join(create.Argv, " ") == "/bin/sleep 0.5" &&
			create.Stdin && start.ExecID != "" && create.Peer.ID.PID != 0 && create.Peer.ID == start.Peer.ID
	})
}

// TestDaemonGone: without the daemon clients get a clear error, and the door is
// there again with it.
func TestDaemonGone(t *testing.T) {
	e := docker.New(t, docker.Options{})
	d := open(t, e, everything)
	id := e.RunT(t, docker.Image)
	if err := e.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := d.run(t, "exec", id, "/bin/true"); err == nil || !strings.Contains(out, "sallyport cannot ask the Docker daemon") {
		t.Errorf("%v %s", err, out)
	}
	if err := e.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.must(t, "exec", id, "/bin/true")
	if err := e.Freeze(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	cmd := d.engine.CLI(ctx, "exec", id, "/bin/true")
	cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+d.socket)
	_ = cmd.Run()
	e.Thaw()
	d.must(t, "exec", id, "/bin/true")
}
