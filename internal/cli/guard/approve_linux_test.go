package guard

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/lib/webhook"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
)

const approveRules = `version: 1
default: allow
rules:
  - id: prod-shell
    when: session.kind in ["exec", "start"] && session.target.labels["env"] == "prod"
    effect: approve
    severity: high
    message: "Commands in prod need a second person"
`

const (
	approveAsker  = 4321
	approveSecond = 4322
	webhookSecret = "0123456789abcdef0123456789abcdef"
)

// approveStage is a guard in front of an engine, and the people around it.
type approveStage struct {
	*guardProcess
	t   *testing.T
	e   *docker.Engine
	bin string
}

// dockerRun is a docker command line that runs.
type dockerRun struct {
	cmd  *exec.Cmd
	out  strings.Builder
	done chan error
}

func (g *approveStage) start(uid uint32, args ...string) *dockerRun {
	g.t.Helper()
	return g.run(docker.As(g.e.CLI(g.t.Context(), args...), uid))
}

func (g *approveStage) run(cmd *exec.Cmd) *dockerRun {
	g.t.Helper()
	x := &dockerRun{cmd: cmd, done: make(chan error, 1)}
	x.cmd.Env = append(x.cmd.Env, "DOCKER_HOST=unix://"+g.socket)
	x.cmd.Stdout, x.cmd.Stderr = &x.out, &x.out
	if err := x.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	go func() { x.done <- x.cmd.Wait() }()
	return x
}

func (x *dockerRun) wait(t *testing.T) (string, error) {
	t.Helper()
	select {
	case err := <-x.done:
		return x.out.String(), err
	case <-time.After(30 * time.Second):
		t.Fatal("the client hangs")
		return "", nil
	}
}

// as runs sallyport as a user.
func (g *approveStage) as(uid uint32, args ...string) (string, error) {
	g.t.Helper()
	cmd := exec.Command(g.bin, append(args, "--control", "unix://"+g.control)...)
	if uid != 0 {
		docker.As(cmd, uid)
	}
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.CombinedOutput()
	g.t.Logf("uid %d $ sallyport %s\n%s", uid, strings.Join(args, " "), out)
	return string(out), err
}

// loggedIn has root run something who logged in as another user.
func loggedIn(cmd *exec.Cmd, login string) *exec.Cmd {
	cmd.Args = append([]string{"sh", "-c", `echo "$0" >/proc/self/loginuid && exec "$@"`, login, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	return cmd
}

// asRoot runs sallyport as root who logged in as another user.
func (g *approveStage) asRoot(login string, args ...string) (string, error) {
	g.t.Helper()
	out, err := loggedIn(exec.Command(g.bin, append(args, "--control", "unix://"+g.control)...), login).CombinedOutput()
	g.t.Logf("login uid %s # sallyport %s\n%s", login, strings.Join(args, " "), out)
	return string(out), err
}

// waiting returns the ids of what waits, when there are n.
func (g *approveStage) waiting(n int) (ids []string) {
	g.t.Helper()
	testbed.Eventually(g.t, 20*time.Second, "requests that wait", func() bool {
		out, err := exec.Command(g.bin, "approvals", "--json", "--control", "unix://"+g.control).Output()
		if err != nil {
			g.t.Fatalf("%v %s", err, out)
		}
		ids = nil
		for line := range strings.Lines(string(out)) {
			var r guard.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				g.t.Fatal(err)
			}
			if r.Approval.State == guard.StateWaiting {
				ids = append(ids, string(r.Approval.ID))
			}
		}
		return len(ids) == n
	})
	return ids
}

func (g *approveStage) says(text string, out string, err error, fails bool) {
	g.t.Helper()
	if (err != nil) != fails || !strings.Contains(out, text) {
		g.t.Errorf("%v %s\nwant %q, failing %v", err, out, text, fails)
	}
}

// noticed collects what a webhook gets.
type noticed struct {
	t     *testing.T
	mu    sync.Mutex
	types []string // guarded by mu
	texts string   // guarded by mu
}

func (n *noticed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s, _ := webhook.NewSecret(webhookSecret)
	at, _ := strconv.ParseInt(r.Header.Get("Webhook-Timestamp"), 10, 64)
	want := http.Header{}
	s.Sign(want, body, time.Unix(at, 0))
	var v notice
	if err := json.Unmarshal(body, &v); err != nil || r.Header.Get("Webhook-Signature") != want.Get("Webhook-Signature") || v.Data.Approval == nil || v.Data.Request.ID == "" {
		n.t.Errorf("%v %v %s", err, r.Header, body)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.types, n.texts = append(n.types, v.Type), n.texts+string(body)
}

func (n *noticed) said() (string, string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.types, " "), n.texts
}

// approvePeople returns an engine and the program, with nobody in front.
func approvePeople(t *testing.T) (*docker.Engine, string) {
	t.Helper()
	testbed.Require(t, testbed.Root, testbed.Docker)
	if login, err := os.ReadFile("/proc/self/loginuid"); err == nil && string(login) != "4294967295" {
		testbed.Lack(t, testbed.Root, fmt.Sprintf("everybody that this test starts is login uid %s, and one person: no login uid is needed", login))
	}
	return docker.New(t, docker.Options{}), program.New(t)
}

func newApproveStage(t *testing.T, e *docker.Engine, bin string, args ...string) *approveStage {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "prod.yaml")
	if err := os.WriteFile(rules, []byte(approveRules), 0o600); err != nil {
		t.Fatal(err)
	}
	return &approveStage{startGuard(t, bin, e, rules, append([]string{"--enforce"}, args...)...), t, e, bin}
}

// TestApprovals: two people at a real daemon. What one asks for waits for the other,
// and runs once he says yes; nobody else's word counts, and not his own.
func TestApprovals(t *testing.T) {
	t.Parallel()
	e, bin := approvePeople(t)
	hook := &noticed{t: t}
	srv := httptest.NewServer(hook)
	defer srv.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(webhookSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newApproveStage(t, e, bin, "--approvers", "user:root,group:"+strconv.Itoa(docker.ClientGID), "--approval-webhook", srv.URL, "--approval-secret-file", secret)
	web := g.e.RunT(t, "--label", "env=prod", docker.Image)

	// One approval is for creating and starting.
	x := g.start(approveAsker, "exec", web, "/bin/sh", "-c", "echo $((6*7)) --password=hunter2")
	id := g.waiting(1)[0]
	out, err := g.as(approveAsker, "approve", id)
	g.says("a second person is needed: uid 4321 asked for it", out, err, true)
	out, err = g.as(0, "approvals")
	g.says("waiting", out, err, false)
	out, err = g.as(approveSecond, "approve", id[:6], "--reason", "incident 42")
	g.says("by uid 4322 (request "+id+"): incident 42", out, err, false)
	out, err = x.wait(t)
	g.says("42 --password=hunter2\n", out, err, false)
	out, err = g.as(0, "deny", id)
	g.says("settled already: request "+id+" was approved by uid 4322", out, err, true)

	// For a time: that command, and no other.
	x = g.start(approveAsker, "exec", web, "/bin/echo", "again")
	id = g.waiting(1)[0]
	out, err = g.as(0, "approve", id, "--for", "15m")
	g.says("for 15m0s", out, err, false)
	out, err = x.wait(t)
	g.says("again\n", out, err, false)
	out, err = g.docker(t, g.e, approveAsker, "exec", web, "/bin/echo", "again")
	g.says("again\n", out, err, false)
	other := g.start(approveAsker, "exec", web, "/bin/echo", "and again")
	id2 := g.waiting(1)[0]
	out, err = g.as(approveSecond, "deny", id2, "--reason", "not that")
	g.says("denied", out, err, false)
	out, err = other.wait(t)
	g.says("sallyport: denied by uid 4322, whom rule prod-shell asks: not that (request "+id2+")", out, err, true)
	out, err = g.as(0, "deny", id)
	g.says("revoked", out, err, false)

	// Who leaves takes back what he asked for.
	x = g.start(approveAsker, "exec", web, "/bin/echo", "gone")
	g.waiting(1)
	_ = x.cmd.Process.Kill()
	<-x.done
	g.waiting(0)
	g.await(t, "withdrawn")

	// A container is created and started by one approval.
	x = g.start(approveAsker, "run", "--rm", "--label", "env=prod", docker.Image, "/bin/echo", "made")
	out, err = g.as(0, "approve", g.waiting(1)[0])
	g.says("approved", out, err, false)
	out, err = x.wait(t)
	g.says("made\n", out, err, false)

	// Root is no second person for root.
	x = g.start(0, "exec", web, "/bin/echo", "root")
	id = g.waiting(1)[0]
	out, err = g.as(0, "approve", id)
	g.says("a second person is needed", out, err, true)
	out, err = g.as(approveSecond, "approve", id)
	g.says("approved", out, err, false)
	out, err = x.wait(t)
	g.says("root\n", out, err, false)

	// Unless two people logged in.
	x = g.run(loggedIn(g.e.CLI(t.Context(), "exec", web, "/bin/echo", "logged in"), "7001"))
	id = g.waiting(1)[0]
	out, err = g.asRoot("7001", "approve", id)
	g.says("root (login uid 7001) asked for it, and cannot be told from root (login uid 7001)", out, err, true)
	out, err = g.as(0, "approve", id)
	g.says("a second person is needed", out, err, true)
	out, err = g.asRoot("7002", "approve", id)
	g.says("by root (login uid 7002)", out, err, false)
	out, err = x.wait(t)
	g.says("logged in\n", out, err, false)

	// Whoever waits hears when the guard ends.
	x = g.start(approveAsker, "exec", web, "/bin/echo", "late")
	g.waiting(1)
	if err := g.end(syscall.SIGTERM); err != nil {
		t.Errorf("%v %s", err, g.said())
	}
	out, err = x.wait(t)
	g.says("sallyport stops", out, err, true)
	if _, err := os.Stat(g.control); err == nil {
		t.Error("the control socket is left")
	}
	out, err = g.as(0, "approvals")
	g.says("no guard answers at", out, err, true)
	t.Logf("the guard:\n%s", g.said())
	types, texts := hook.said()
	if want := "approval.waiting approval.refused approval.approved approval.approved approval.waiting approval.approved"; !strings.HasPrefix(types, want) || !strings.HasSuffix(types, "approval.waiting approval.expired") {
		t.Errorf("told of %s, want %s…", types, want)
	}
	if strings.Contains(texts, "hunter2") {
		t.Error("a secret was sent")
	}
}

// TestApprovalsTimes: what nobody answers is refused after --approval-wait, and with
// 0 at once: then whoever asked comes again.
func TestApprovalsTimes(t *testing.T) {
	t.Parallel()
	e, bin := approvePeople(t)
	g := newApproveStage(t, e, bin, "--approval-wait", "2s", "--json")
	web := g.e.RunT(t, "--label", "env=prod", docker.Image)
	out, err := g.docker(t, g.e, approveAsker, "exec", web, "/bin/true")
	g.says("not approved by rule prod-shell: Commands in prod need a second person: nobody answered within 2s", out, err, true)
	out, err = g.as(approveSecond, "approvals")
	g.says("no permission to use the guard's socket", out, err, true)
	var states []guard.ApprovalState
	for line := range strings.Lines(g.said()) {
		var r guard.Record
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &r) == nil && r.Approval != nil {
			states = append(states, r.Approval.State)
		}
	}
	if len(states) != 2 || states[0] != guard.StateWaiting || states[1] != guard.StateExpired {
		t.Errorf("told %v\n%s", states, g.said())
	}
	if err := g.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	g = newApproveStage(t, e, bin, "--approval-wait", "0")
	out, err = g.docker(t, g.e, approveAsker, "exec", web, "/bin/echo", "later")
	_, rest, _ := strings.Cut(out, "ask with: sallyport approve ")
	id, _, _ := strings.Cut(rest, ",")
	g.says("then try again", out, err, true)
	out, err = g.as(0, "approve", id)
	g.says("approved", out, err, false)
	out, err = g.docker(t, g.e, approveAsker, "exec", web, "/bin/echo", "later")
	g.says("later\n", out, err, false)
	out, err = g.docker(t, g.e, approveAsker, "exec", web, "/bin/echo", "later")
	g.says("then try again", out, err, true)
	offered, err := exec.Command(g.bin, "__complete", "approve", "--control", "unix://"+g.control, "").Output()
	if err != nil || !strings.Contains(string(offered), "\tuid 4321 in ") || !strings.Contains(string(offered), ": /bin/echo later\n") {
		t.Errorf("%v %s", err, offered)
	}
}
