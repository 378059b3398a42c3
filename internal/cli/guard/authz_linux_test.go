package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

// authzStage is an engine that can be told to ask a plugin.
type authzStage struct {
	t         *testing.T
	e         *docker.Engine
	bin, name string
	rules     string
	tls       []string // flags of the daemon, and of a client whose certificate says test
	p         *guardProcess
}

// newAuthzStage starts an engine that serves its socket and TLS; its plugin's name
// has as in it.
func newAuthzStage(t *testing.T, as string) *authzStage {
	t.Helper()
	a := &authzStage{t: t, bin: program.New(t), name: fmt.Sprintf("sallyport-%s-%d", as, os.Getpid()), rules: filepath.Join(t.TempDir(), "r.yaml")}
	t.Cleanup(func() { _ = os.Remove(a.socket()) })
	dir := t.TempDir()
	testbed.Certificates(t, dir)
	a.tls = []string{"--tlsverify", "--tlscacert", dir + "/ca.pem", "--tlscert", dir + "/cert.pem", "--tlskey", dir + "/key.pem", "-H", "tcp://" + testbed.FreeAddress(t)}
	a.e = docker.New(t, docker.Options{Flags: a.tls})
	t.Cleanup(func() { a.configure(); _ = a.e.Halt(context.Background()); _ = a.e.Boot(context.Background()) }) // to be stopped in order
	return a
}

func (a *authzStage) socket() string { return filepath.Join("/run/docker/plugins", a.name+".sock") }

// plugin starts the program.
func (a *authzStage) plugin(args ...string) {
	a.t.Helper()
	a.p = runGuard(a.t, exec.Command(a.bin, append([]string{
		"guard", "docker-authz", "--listen", "unix://" + a.socket(), "--to", a.e.Address, "--rules", a.rules,
		"--control", "unix://" + filepath.Join(filepath.Dir(a.bin), "guard.sock"),
	}, args...)...))
}

// configure tells the daemon whom to ask; it hears of it by reloaded or by its start.
func (a *authzStage) configure(plugins ...string) {
	a.t.Helper()
	text, err := json.Marshal(map[string]any{"authorization-plugins": append([]string{}, plugins...)})
	if err == nil {
		err = os.WriteFile(filepath.Join(a.e.Dir, "daemon.json"), text, 0o644)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *authzStage) reload() {
	a.t.Helper()
	if err := syscall.Kill(a.e.PID(), syscall.SIGHUP); err != nil {
		a.t.Fatal(err)
	}
}

// docker runs the docker command line.
func (a *authzStage) docker(args ...string) (string, error) {
	out, err := a.e.CLI(a.t.Context(), args...).CombinedOutput()
	return string(out), err
}

// post sends one request, and returns the answer's first line and body.
func (a *authzStage) post(path, body string) string {
	a.t.Helper()
	c, err := net.Dial("unix", a.e.Socket)
	if err != nil {
		a.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", path, len(body), body)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	var text strings.Builder
	_, _ = bufio.NewReader(res.Body).WriteTo(&text)
	return res.Status + " " + text.String()
}

// exec creates an exec and returns its id.
func (a *authzStage) exec(container string) string {
	a.t.Helper()
	var v struct{ ID string }
	out := a.post("/containers/"+container+"/exec", `{"Cmd":["/bin/true"]}`)
	_, text, _ := strings.Cut(out, "{")
	if err := json.Unmarshal([]byte("{"+text), &v); err != nil || v.ID == "" {
		a.t.Fatalf("%v %s", err, out)
	}
	return v.ID
}

const authzRules = `version: 1
default: allow
rules:
  - id: prod-shell
    when: session.kind == "exec" && session.target.labels["env"] == "prod" && basename(session.argv[0]) == "sh"
    effect: deny
    severity: high
    message: "{{.Actor}} may not run {{.Command}} in {{.Target}}: ask the one on call"
  - {id: two, when: 'session.argv == ["id"] && session.actor.kind == "tls"', effect: approve, severity: high}
`

// TestGuardDockerAuthz: the program as the daemon's plugin: it observes, enforces,
// loads rules again; without it the daemon refuses, and goes on when it is back;
// either side may start anew; and the way round it that the guide describes is one.
func TestGuardDockerAuthz(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker)
	a := newAuthzStage(t, "authz")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(a.rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(authzRules)
	id := a.e.RunT(t, "--label", "env=prod", "--name", "web", docker.Image)
	must := func(args ...string) {
		t.Helper()
		if out, err := a.docker(args...); err != nil {
			t.Fatalf("docker %v: %v %s", args, err, out)
		}
	}
	refused := func(says string, args ...string) {
		t.Helper()
		if out, err := a.docker(args...); err == nil || !strings.Contains(out, says) {
			t.Errorf("docker %v: %v %s", args, err, out)
		} else {
			t.Logf("$ docker %s\n%s", strings.Join(args, " "), out)
		}
	}

	a.plugin()
	a.configure(a.name)
	a.reload()
	testbed.Eventually(t, 20*time.Second, "the plugin is asked", func() bool {
		must("exec", "web", "sh", "-c", "true")
		return strings.Contains(a.p.said(), "would deny")
	})
	if err := a.p.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v %s", err, a.p.said())
	}
	t.Logf("observing:\n%s", a.p.said())

	a.plugin("--enforce")
	refused("authorization denied by plugin "+a.name+": denied by rule prod-shell: somebody unknown may not run sh -c id in web", "exec", "web", "sh", "-c", "id")
	must("exec", "web", "/bin/true")
	pad := strings.Repeat("x", 5<<20) // since Docker 29 the daemon itself refuses what it does not hand on
	if out := a.post("/containers/web/exec", `{"Env":["X=`+pad+`"],"Cmd":["/bin/true"]}`); strings.HasPrefix(out, "201") ||
		!strings.Contains(out, "did not hand on the body") && !strings.Contains(out, "request body too large for authorization plugin") {
		t.Errorf("%.300s", out)
	}
	a.byCertificate()
	before := a.exec(id)
	a.kept(before)
	a.daemonAnew(id)
	write("version: 1\ndefault: deny\n")
	_ = a.p.cmd.Process.Signal(syscall.SIGHUP)
	a.p.await(t, "rules loaded again")
	refused("denied by default", "exec", "web", "true")
	must("ps")
	t.Logf("enforcing:\n%s", a.p.said())
	a.breakGlass()
}

// byCertificate: a client by TLS has a name, and so another can approve what he asks
// for, who then comes again.
func (a *authzStage) byCertificate() {
	a.t.Helper()
	command := append(append([]string{}, a.tls...), "exec", "web", "id")
	out, err := a.docker(command...)
	m := regexp.MustCompile(`ask with: sallyport approve ([a-z0-9]+), then try again`).FindStringSubmatch(out)
	if err == nil || m == nil {
		a.t.Fatalf("%v %s", err, out)
	}
	control := "unix://" + filepath.Join(filepath.Dir(a.bin), "guard.sock")
	if out, err := exec.Command(a.bin, "approve", "--control", control, m[1]).CombinedOutput(); err != nil || !strings.Contains(string(out), "approved  test  DK-EXEC  web  id  rule two  by root") {
		a.t.Errorf("%v %s", err, out)
	}
	if out, err := a.docker(command...); err != nil || !strings.HasPrefix(out, "uid=0") {
		a.t.Errorf("approved: %v %s", err, out)
	}
	if out, err := a.docker(command...); err == nil {
		a.t.Errorf("approved once: %s", out)
	}
}

// kept: without the plugin everything is refused, what comes shortly before it is
// back waits for it, and of before it knows nothing.
func (a *authzStage) kept(before string) {
	a.t.Helper()
	_ = a.p.end(syscall.SIGKILL)
	began := time.Now()
	if out := a.post("/containers/web/exec", `{"Cmd":["/bin/true"]}`); strings.HasPrefix(out, "201") {
		a.t.Errorf("without the plugin: %s", out)
	} else {
		a.t.Logf("without the plugin, after %s: %s", time.Since(began).Round(time.Second), out)
	}
	waits := make(chan string, 1)
	go func() { waits <- a.post("/containers/web/exec", `{"Cmd":["/bin/true"]}`) }()
	time.Sleep(time.Second)
	a.plugin("--enforce")
	if out := <-waits; !strings.HasPrefix(out, "201") {
		a.t.Errorf("while the plugin came back: %s", out)
	}
	if out := a.post("/exec/"+before+"/start", `{"Detach":true}`); !strings.Contains(out, "an exec that somebody else created") {
		a.t.Errorf("created before: %s", out)
	}
}

// daemonAnew: the daemon ends and starts, and asks as before.
func (a *authzStage) daemonAnew(id string) {
	a.t.Helper()
	x := a.exec(id)
	a.e.RestartT(a.t)
	if out, err := a.docker("exec", "web", "sh"); err == nil || !strings.Contains(out, "denied by rule prod-shell") {
		a.t.Errorf("%v %s", err, out)
	}
	if out, err := a.docker("exec", "web", "/bin/true"); err != nil {
		a.t.Errorf("%v %s", err, out)
	}
	if out := a.post("/exec/"+x+"/start", `{"Detach":true}`); strings.HasPrefix(out, "200") {
		a.t.Errorf("of a daemon that is gone: %s", out)
	}
}

// breakGlass: the plugin is dead, and root takes it out of daemon.json.
func (a *authzStage) breakGlass() {
	a.t.Helper()
	_ = a.p.end(syscall.SIGKILL)
	a.configure()
	a.reload()
	testbed.Eventually(a.t, 20*time.Second, "nobody is asked", func() bool {
		ctx, cancel := context.WithTimeout(a.t.Context(), 2*time.Second)
		defer cancel()
		return a.e.CLI(ctx, "exec", "web", "sh", "-c", "true").Run() == nil
	})
}
