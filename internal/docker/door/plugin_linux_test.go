package door_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
)

// plugged is an engine that asks a plugin. Its own command line passes beside the
// plugin, by a header that only the test knows.
type plugged struct {
	*doorway
	plugin *door.Plugin
}

const besideHeader = "X-Beside"

// plug starts an engine, and has it ask a plugin that enforces.
func plug(t *testing.T) *plugged {
	t.Helper()
	testbed.Require(t, testbed.Docker)
	p := &plugged{doorway: &doorway{stop: func() {}}}
	t.Cleanup(func() { p.stop() }) // after the engine, which asks to its end
	e := docker.New(t, docker.Options{})
	p.engine, p.socket, p.env = e, e.Socket, []string{"DOCKER_CONFIG=" + t.TempDir()}
	name := fmt.Sprintf("sallyport-test-%d", os.Getpid())
	if err := os.WriteFile(filepath.Join(e.Dir, "cli", "config.json"), fmt.Appendf(nil, `{"HttpHeaders":{%q:%q}}`, besideHeader, name), 0o644); err != nil {
		t.Fatal(err)
	}
	p.judge = guard.New(guard.Options{Rules: load(t, everything), Enforce: true, Nameless: true, Tell: func(r guard.Record) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.records = append(p.records, r)
	}})
	p.plugin = door.NewPlugin(door.PluginOptions{
		Network: "unix", Address: e.Socket, Judge: p.judge, Enforce: true,
		Real: func(path string) string { real, _ := filepath.EvalSymlinks(path); return real },
	})
	p.serve(t, name)
	if err := os.WriteFile(filepath.Join(e.Dir, "daemon.json"), fmt.Appendf(nil, `{"authorization-plugins":[%q]}`, name), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(e.PID(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	client := e.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	eventually(t, func() bool {
		res, err := client.Get("http://docker/info")
		if err == nil {
			_ = res.Body.Close()
		}
		return p.plugin.Stats().Requests.Load() > 0
	})
	return p
}

// serve answers the daemon at the plugin's socket, without a judge what comes by
// the engine's own command line.
func (p *plugged) serve(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join("/run/docker/plugins", name+".sock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var q struct{ RequestHeaders map[string]string }
		_ = json.Unmarshal(body, &q)
		if q.RequestHeaders[besideHeader] == name {
			_, _ = io.WriteString(w, `{"Allow":true}`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.plugin.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	p.stop = func() {
		_ = server.Close()
		<-done
	}
}

// TestPlugin: a daemon asks a plugin.
func TestPlugin(t *testing.T) {
	p := plug(t)
	t.Run("workflows", p.workflows)
	t.Run("bypass", p.bypass)
	t.Run("denies", p.denies)
}

// What people do passes the plugin as it passes the door.
func (p *plugged) workflows(t *testing.T) {
	everyday(t, p.engine, p.doorway)
	for _, r := range p.decided() {
		if r.Request.Actor.Kind != session.ActorNone || r.Request.Attribution.Level != session.LevelNone {
			t.Errorf("%s: asked by %+v", r.Request.Channel, r.Request.Actor)
		}
		if r.Request.Channel == event.ChannelDockerExecSplit {
			t.Errorf("%+v", r)
		}
	}
}

// The daemon refuses what the plugin does, with its reason, and an
// exec that was not created while the plugin was asked is another's.
func (p *plugged) denies(t *testing.T) {
	p.judge.Use(load(t, `
version: 1
default: allow
rules:
  - id: prod-shell
    when: 'session.kind == "exec" && session.target.labels["env"] == "prod" && basename(session.argv[0]) == "sh"'
    effect: deny
    severity: high
    message: "no {{.Command}} in {{.Target}}"
  - {id: not-root, when: 'session.actor.user == "root"', unknown: pass, effect: deny, severity: high}
  - {id: nobody, when: 'session.actor.user == ""', unknown: pass, effect: deny, severity: high}
`))
	id := p.engine.RunT(t, "--label", "env=prod", "--name", "plugin-prod", docker.Image)
	for _, c := range []struct {
		says string
		args []string
	}{
		{"authorization denied by plugin sallyport-test-", []string{"exec", "plugin-prod", "sh", "-c", "id"}},
		{": denied by rule prod-shell: no sh -c id in plugin-prod (request ", []string{"exec", id[:12], "sh", "-c", "id"}},
		{"copying files into or out of a container is allowed only by a rule", []string{"cp", "plugin-prod:/bin/busybox", "-"}},
		{"changing plugins is allowed only by a rule", []string{"plugin", "disable", "x"}},
		{"changing the swarm is allowed only by a rule", []string{"swarm", "init"}},
		{"No such container: nobody-knows", []string{"kill", "nobody-knows"}},
	} {
		if out, err := p.run(t, c.args...); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%v: %v %s", c.args, err, out)
		}
	}
	p.must(t, "exec", "plugin-prod", "/bin/true")
	start := func(x string) string {
		a := arena{t: t, socket: p.socket, container: id}
		return a.raw(request("POST /exec/"+x+"/start", `{"Detach":true}`, "Connection: close"))
	}
	own := execOn(t, p.socket, id, `{"Cmd":["/bin/true"],"Env":["LD_PRELOAD=/x.so"]}`)
	if out := start(own); !strings.Contains(out, " 200 ") {
		t.Errorf("%s", out)
	}
	all := p.decided()
	if r := all[len(all)-1].Request; r.Created == nil || len(r.Carried) != 1 || r.Carried[0].Name != "LD_PRELOAD" {
		t.Errorf("what was created is not judged again: %+v", r)
	}
	beside, err := docker.Output(p.engine.CLI(context.Background(), "run", "-d", docker.Image))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.engine.Remove(context.Background(), beside) }()
	before := execOn(t, p.socket, beside, `{"Cmd":["/bin/true"]}`)
	p.stop()
	fresh := guard.New(guard.Options{Rules: load(t, "version: 1\ndefault: allow\n"), Enforce: true, Nameless: true})
	p.plugin = door.NewPlugin(door.PluginOptions{Network: "unix", Address: p.socket, Judge: fresh, Enforce: true})
	p.serve(t, fmt.Sprintf("sallyport-test-%d", os.Getpid()))
	if out := start(before); !strings.Contains(out, "starting an exec that somebody else created") {
		t.Errorf("created before the plugin began: %s", out)
	}
	p.must(t, "exec", "plugin-prod", "/bin/true")
}

// The attempts of TestBypass, which shows that they come about, where only the
// plugin stands in the way.
func (p *plugged) bypass(t *testing.T) {
	p.judge.Use(load(t, strict))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/etc", link); err != nil {
		t.Fatal(err)
	}
	for _, volume := range []string{"door-volume", "door-volume-made"} {
		if _, err := docker.Output(p.engine.CLI(t.Context(), "volume", "create", "--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", volume)); err != nil {
			t.Fatal(err)
		}
	}
	var arenas []*arena
	for range 12 {
		arenas = append(arenas, newArena(t, p.engine, p.socket, link))
	}
	makeAll(t, attempts(), arenas, func(t *testing.T, a *arena, x attempt[*arena]) {
		if got := outcome(t, a, x, false); got != "" {
			t.Errorf("past the plugin: %s", got)
		}
	})
	s := p.plugin.Stats()
	t.Logf("%d requests, %d denied, %d misread, %d late", s.Requests.Load(), s.Denied.Load(), s.Misread.Load(), s.Late.Load())
}

// beyondTold are attempts at what the daemon does not tell a plugin.
func beyondTold() []attempt[*arena] {
	pad := strings.Repeat(" ", 1<<20)
	path := "POST /v1.41/containers/{C}/exec"
	padded := `{"Env":[` + strings.Repeat(`"X=`+strings.Repeat("x", 100<<10)+`",`, 11) + `"Y=y"],"Cmd":` + touch + `}`
	return []attempt[*arena]{
		{"just over the limit", true, execCreate(execIt + pad)},
		{"just over the limit, chunked", true, execCreate(chunked(pad, execIt), "Transfer-Encoding: chunked")},
		{"just over the limit, inside", true, execCreate(padded)},
		{"just over the limit, inside, chunked", true, execCreate(chunked(padded), "Transfer-Encoding: chunked")},
		{"exactly the limit", true, execCreate(pad[len(execIt):] + execIt)},
		{"one below the limit", true, execCreate(pad[len(execIt)+1:] + execIt)},
		{"ends as a login does", true, send(request(path+"?/auth", execIt))},
		{"ends as a login does, chunked", true, send(request(path+"?/auth", chunked(execIt), "Transfer-Encoding: chunked"))},
		{"ends as a login does, two types", true, send(request(path+"?x=/v1.41/auth", chunked(execIt), "Transfer-Encoding: chunked", "Content-Type: application/json", "Content-Type: text/plain"))},
		{"length said twice", true, send(request(path, execIt, fmt.Sprintf("Content-Length: %d", len(execIt)), fmt.Sprintf("Content-Length: %d", len(execIt))))},
		{"another's lookup header", true, execCreate(execIt, "X-Sallyport-Lookup: x")},
		{"lookup header twice", true, execCreate(execIt, "X-Sallyport-Lookup: x", "X-Sallyport-Lookup:")},
		{"length in another header's name", true, execCreate(execIt, "X-Content-Length: 0", "Content_Length: 0")},
		{"start, host configuration, chunked and two types", true, func(a *arena) {
			a.raw(request("POST /v1.23/containers/create", `{`+anImage+`}`))
			if m := ids.FindStringSubmatch(a.answers.String()); m != nil {
				a.raw(request("POST /v1.23/containers/"+m[1]+"/start?/auth", chunked(`{"PidMode":"host"}`), "Transfer-Encoding: chunked", "Content-Type: application/json", "Content-Type: text/plain"))
			}
		}},
		{"start, host configuration, length 0 and chunks", true, func(a *arena) {
			a.raw(request("POST /v1.23/containers/create", `{`+anImage+`}`))
			if m := ids.FindStringSubmatch(a.answers.String()); m != nil {
				a.raw(request("POST /v1.23/containers/"+m[1]+"/start?/auth", chunked(`{"PidMode":"host"}`), "Content-Length: 0", "Transfer-Encoding: chunked", "Content-Type: application/json"))
			}
		}},
		{"start, host configuration over the limit", true, func(a *arena) {
			a.raw(request("POST /v1.23/containers/create", `{`+anImage+`}`))
			if m := ids.FindStringSubmatch(a.answers.String()); m != nil {
				a.raw(request("POST /v1.23/containers/"+m[1]+"/start", chunked(`{"PidMode":"host"}`+pad), "Transfer-Encoding: chunked"))
			}
		}},
	}
}
