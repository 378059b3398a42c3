package up

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/bus/link"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/watch"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/docker"
	"github.com/sallyport/sallyport/testbed/program"
	"github.com/sallyport/sallyport/testbed/up"
)

// twoMachines is a node and a collector, each a process of its own, on one host.
type twoMachines struct {
	t                        *testing.T
	bin                      string
	engine                   *docker.Engine
	addr                     string
	collectState, nodeState  string
	collectFiles, alphaFiles link.Files
}

func newTwoMachines(t *testing.T) *twoMachines {
	testbed.Require(t, testbed.Root, testbed.Docker, testbed.BPF)
	m := &twoMachines{
		t: t, bin: program.New(t), engine: docker.New(t, docker.Options{}),
		collectState: filepath.Join(t.TempDir(), "collector"), nodeState: filepath.Join(t.TempDir(), "node"),
		addr: testbed.FreeAddress(t),
	}
	pki := filepath.Join(t.TempDir(), "pki")
	program.Run(t, m.bin, "node", "certs", "-o", pki, "--collector", "127.0.0.1", "--node", "alpha")
	m.collectFiles = link.Files{Cert: filepath.Join(pki, "collector.crt"), Key: filepath.Join(pki, "collector.key"), CA: filepath.Join(pki, "ca.crt")}
	m.alphaFiles = link.Files{Cert: filepath.Join(pki, "node-alpha.crt"), Key: filepath.Join(pki, "node-alpha.key"), CA: filepath.Join(pki, "ca.crt")}
	return m
}

// collector starts the collector. It has no Docker of its own.
func (m *twoMachines) collector() *up.Printing {
	return up.Print(m.t, m.bin, m.collectState, &docker.Engine{Address: "unix:///nonexistent.sock"}, m.collectorFlags()...)
}

func (m *twoMachines) collectorFlags() []string {
	f := m.collectFiles
	return []string{"--collect", m.addr, "--collect-cert", f.Cert, "--collect-key", f.Key, "--collect-ca", f.CA}
}

func (m *twoMachines) node() *up.Printing {
	return up.Print(m.t, m.bin, m.nodeState, m.engine, append(m.nodeFlags(), "--client-requests", "always")...)
}

func (m *twoMachines) nodeFlags() []string {
	f := m.alphaFiles
	return []string{"--node", m.addr, "--node-cert", f.Cert, "--node-key", f.Key, "--collector-ca", f.CA, "--node-name", "alpha"}
}

// doctor expects that all is well with these checks.
func (m *twoMachines) doctor(state string, flags []string, checks ...string) {
	m.t.Helper()
	args := append([]string{"doctor", "--json", "--state", state, "--docker", m.engine.Address}, flags...)
	out, err := exec.CommandContext(m.t.Context(), m.bin, args...).Output()
	ok := map[string]bool{}
	for line := range bytes.Lines(out) {
		var d struct{ Check, Status string }
		if err := json.Unmarshal(line, &d); err != nil {
			m.t.Fatalf("%v: %s", err, line)
		}
		ok[d.Check] = d.Status == "ok"
	}
	for _, c := range checks {
		if !ok[c] {
			m.t.Errorf("%s: %v\n%s", c, err, out)
		}
	}
}

// echoes returns the last state of each session on the node whose command is
// echo with a word that begins so, by that word.
func (m *twoMachines) echoes(word string) map[string]session.Session {
	out := map[string]session.Session{}
	cmd := exec.CommandContext(m.t.Context(), m.bin, "sessions", "--state", m.collectState, "--json", "--limit", "0")
	var text, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &stderr
	if err := cmd.Run(); err != nil {
		m.t.Logf("sessions: %v: %s", err, &stderr)
		return out
	}
	for line := range bytes.Lines(text.Bytes()) {
		var s session.Session
		if json.Unmarshal(line, &s) != nil || s.Target.Node != "alpha" || s.Kind != session.KindExec || len(s.Argv) == 0 {
			continue
		}
		if last := s.Argv[len(s.Argv)-1]; strings.HasPrefix(last, word) {
			out[last] = s
		}
	}
	return out
}

func (m *twoMachines) status(state string) (s watch.Status) {
	code, body := up.Ask(state, "/status")
	if code == http.StatusOK {
		_ = json.Unmarshal([]byte(body), &s)
	}
	return s
}

// TestNodeAndCollector: a docker exec on a node is a session at the collector,
// under the node's name, with the name of who asked.
func TestNodeAndCollector(t *testing.T) {
	t.Parallel()
	m := newTwoMachines(t)
	c, n := m.collector(), m.node()
	m.engine.RunT(t, "--name", "box", docker.Image)
	up.Await(t, m.nodeState, "kernel", "docker", "containerd")
	m.engine.ExecT(t, 4321, "box", "/bin/busybox", "echo", "one")
	var got session.Session
	testbed.Eventually(t, 30*time.Second, "the session ends", func() bool {
		for _, s := range c.Sessions() {
			if s.Target.Node == "alpha" && slices.Contains(s.Argv, "one") && s.Kind == session.KindExec && s.State == session.StateEnded {
				got = s
				return true
			}
		}
		return false
	})
	if got.Actor.UID == nil || *got.Actor.UID != 4321 || got.Attribution.Level != session.LevelExact || got.Target.ContainerName != "box" {
		t.Errorf("actor %+v, attribution %+v, target %+v", got.Actor, got.Attribution, got.Target)
	}
	sent := m.status(m.nodeState).Link
	testbed.Eventually(t, 30*time.Second, "the clock is measured and all so far is acknowledged", func() bool {
		s, l := m.status(m.collectState), m.status(m.nodeState).Link
		return len(s.Nodes) == 1 && s.Nodes[0].ClockErrorNS != nil && sent != nil && l != nil && l.Connected && l.Acknowledged >= sent.Put
	})
	s := m.status(m.collectState).Nodes[0]
	if wrong := time.Duration(*s.ClockOffsetNS).Abs(); s.Name != "alpha" || wrong > time.Duration(*s.ClockErrorNS) || len(s.Witnesses) < 3 || s.Foreign != 0 {
		t.Errorf("%+v, clock wrong by %v of %v", s, wrong, time.Duration(*s.ClockErrorNS))
	}
	if _, body := up.Ask(m.nodeState, "/metrics"); !strings.Contains(body, "sallyport_link_up 1") {
		t.Error("the node's metrics do not say that it is linked")
	}
	m.doctor(m.nodeState, m.nodeFlags(), "node certificate", "collector", "spool", "link")
	m.doctor(m.collectState, m.collectorFlags(), "collector certificate", "node alpha")
	if s := m.status(m.collectState).Nodes[0]; s.Connects != 1 {
		t.Errorf("doctor pushed the node off: %+v", s)
	}
	for _, p := range []*up.Printing{n, c} {
		if err := p.End(syscall.SIGTERM); err != nil {
			t.Errorf("ended with %v: %s", err, &p.Stderr)
		}
	}
	if out := program.Run(t, m.bin, "verify", "--state", m.collectState); !strings.HasPrefix(out, "Proven:") {
		t.Errorf("verify printed %s", out)
	}
}

// TestCollectorAndNodeKilled kills the collector for a while in a storm, and
// then the node: every command is a session, with the right name, once.
func TestCollectorAndNodeKilled(t *testing.T) {
	t.Parallel()
	m := newTwoMachines(t)
	c, n := m.collector(), m.node()
	m.engine.RunT(t, "--name", "box", docker.Image)
	up.Await(t, m.nodeState, "kernel", "docker", "containerd")

	owner := map[string]uint32{}
	storm := func(round, each int) {
		var wg sync.WaitGroup
		for client := range 3 {
			uid := uint32(5000 + client)
			for i := range each {
				owner[fmt.Sprintf("w%d-%d-%d", round, client, i)] = uid
			}
			wg.Go(func() {
				for i := range each {
					m.engine.ExecT(t, uid, "box", "/bin/busybox", "echo", fmt.Sprintf("w%d-%d-%d", round, client, i))
				}
			})
		}
		wg.Wait()
	}
	storm(0, 4)
	killed := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { _ = c.Cmd.Process.Kill(); close(killed) })
	storm(1, 8)
	<-killed
	_ = c.End(syscall.SIGKILL)
	storm(2, 8) // nobody collects
	waiting := m.status(m.nodeState).Link
	if waiting == nil || waiting.Connected || waiting.Waiting == 0 {
		t.Errorf("the node's link while nobody collects: %+v", waiting)
	}
	c = m.collector()
	storm(3, 4)
	m.await(owner, c, n)

	// Now the node: what it had put on disk arrives when it runs again.
	_ = c.End(syscall.SIGKILL)
	storm(4, 4)
	testbed.Eventually(t, 10*time.Second, "it is on disk", func() bool { l := m.status(m.nodeState).Link; return l != nil && l.Waiting > 0 })
	time.Sleep(500 * time.Millisecond) // what the witnesses still have to say of it is said
	_ = n.End(syscall.SIGKILL)
	c, n = m.collector(), m.node()
	m.await(owner, c, n)
	t.Logf("%d commands; node: %+v", len(owner), m.status(m.nodeState).Link)
}

// await waits until the collector has a session for every command, and checks
// them.
func (m *twoMachines) await(owner map[string]uint32, c, n *up.Printing) {
	m.t.Helper()
	var got map[string]session.Session
	for deadline := time.Now().Add(45 * time.Second); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		got = m.echoes("w")
		ended := 0
		for _, s := range got {
			if s.State == session.StateEnded {
				ended++
			}
		}
		if ended == len(owner) {
			break
		}
	}
	levels := map[session.Level]int{}
	for word, uid := range owner {
		s, ok := got[word]
		switch {
		case !ok:
			m.t.Errorf("%s: no session", word)
		case s.Actor.UID != nil && *s.Actor.UID != uid:
			m.t.Errorf("%s: a wrong name: %d, it was %d", word, *s.Actor.UID, uid)
		case s.State != session.StateEnded:
			m.t.Errorf("%s: %s", word, s.State)
		}
		levels[s.Attribution.Level]++
	}
	m.t.Logf("levels %v", levels)
	if levels[session.LevelExact] != len(owner) {
		m.t.Errorf("%d commands, levels %v", len(owner), levels)
	}
	if m.t.Failed() {
		m.t.Logf("collector: %s\nnode: %s", &c.Stderr, &n.Stderr)
	}
}
