package up

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

const liveRules = `version: 1
default: allow
lists: {trusted: ["unix/4322"]}
rules:
  - id: stranger
    when: session.kind == "exec" && !session.actor.identity.like(lists.trusted)
    effect: deny
    severity: high
    message: "{{.Command}} in {{.Target}}"
  - id: ran-echo
    when: session.programs.exists(p, p.argv.exists(a, a == "echo"))
    effect: alert
    severity: low
`

// TestUpFindsByRules runs up with rules beside a real engine: what they find is
// there once, through kill -9 and a restart, and broken rules leave those at
// work that are.
func TestUpFindsByRules(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(liveRules)
	start := func() *up.Printing {
		p := up.Print(t, bin, state, e, "--client-requests", "always", "--rules", rules)
		up.Await(t, state, "kernel", "docker", "containerd")
		return p
	}
	box := ""
	found := func() []finding.Finding { // about our container: the sensor sees those of other daemons, too
		var out []finding.Finding
		for line := range strings.Lines(program.Run(t, bin, "findings", "--state", state, "--json")) {
			var f finding.Finding
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			if f.Target != nil && string(f.Target.ContainerID) == box {
				out = append(out, f)
			}
		}
		return out
	}
	await := func(n int) []finding.Finding {
		t.Helper()
		testbed.Eventually(t, 30*time.Second, "findings", func() bool { return len(found()) >= n })
		return found()
	}

	p := start()
	box = e.RunT(t, "--name", "box", docker.Image)
	e.ExecT(t, 4321, "box", "/bin/busybox", "echo", "a")
	all := await(2)
	if all[0].Rule == "ran-echo" {
		all[0], all[1] = all[1], all[0]
	}
	if f := all[0]; f.Rule != "stranger" || f.Effect != "deny" || f.Enforced || f.Message != "/bin/busybox echo a in box" ||
		f.Actor == nil || f.Actor.Attribution != "exact" || f.Target == nil || f.Target.ContainerName != "box" {
		t.Errorf("finding %+v, actor %+v", f, f.Actor)
	}
	_ = p.End(syscall.SIGKILL)

	p = start()
	e.ExecT(t, 4322, "box", "/bin/busybox", "echo", "b") // trusted: only the other rule finds it
	await(3)
	write("version: 1\nrules: [")
	_ = p.Cmd.Process.Signal(syscall.SIGHUP)
	testbed.Eventually(t, 10*time.Second, "the broken rules show", func() bool {
		_, body := up.Ask(state, "/status")
		return strings.Contains(strings.ReplaceAll(body, " ", ""), `"failed":1`)
	})
	e.ExecT(t, 4321, "box", "/bin/busybox", "true")
	all = await(4)
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up: %v\n%s", err, p.Stderr.String())
	}
	seen := map[finding.ID]int{}
	for _, f := range all {
		seen[f.ID]++
	}
	if len(all) != 4 || len(seen) != 4 {
		t.Errorf("%d findings, %d different: %+v", len(all), len(seen), all)
	}
	if out := program.Run(t, bin, "verify", "--state", state); !strings.Contains(out, "Proven") {
		t.Errorf("verify printed %s", out)
	}
}

// TestUpFindsByDefault: without a word about rules up says that the shipped ones
// are at work, and they find.
func TestUpFindsByDefault(t *testing.T) {
	t.Parallel()
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	e, bin, state := docker.New(t, docker.Options{}), program.New(t), filepath.Join(t.TempDir(), "state")
	p := up.Print(t, bin, state, e, "--client-requests", "always", "--rules", "shipped")
	up.Await(t, state, "kernel", "docker", "containerd")
	e.RunT(t, "--name", "box", docker.Image)
	e.ExecT(t, 4321, "box", "/bin/busybox", "echo", "/run/secrets/kubernetes.io/serviceaccount/token")
	testbed.Eventually(t, 30*time.Second, "a finding", func() bool {
		return strings.Contains(program.Run(t, bin, "findings", "--state", state, "--rule", "R12-secrets-in-command"), "box")
	})
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Errorf("up: %v", err)
	}
	if said := p.Stderr.String(); !strings.Contains(said, "Rules: the shipped pack, ") || !strings.Contains(said, "alert and never deny (--rules none: without)") {
		t.Errorf("up said: %s", said)
	}
}
