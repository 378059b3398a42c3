package correlate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

var app = event.ContainerID(fmt.Sprintf("%064x", 0xa44))

const (
	byKubelet = "the kubelet itself"
	byStealth = "somebody at the kubelet's port"
)

// cluster is a node with one pod, an API server and people; it knows the truth.
type cluster struct {
	*world
	admission bool
	who       map[event.ExecID]string
}

var probe = []string{"/bin/check"}

func newCluster(admission bool) *cluster {
	w := &world{now: t0, pid: 1000, conn: 100}
	c := &cluster{world: w, admission: admission, who: map[event.ExecID]string{}}
	w.add(event.Host{Header: w.head(event.WitnessEngine), BootID: "boot", Hostname: "node1"})
	up := func(s event.WitnessState, by event.Witness) {
		s.Header, s.Up, s.From = w.head(by), true, w.now
		w.add(s)
	}
	up(event.WitnessState{Level: "L2", Peers: true, Ports: []event.Service{event.ServiceKubelet}}, event.WitnessKernel)
	up(event.WitnessState{}, event.WitnessContainerd)
	up(event.WitnessState{}, event.WitnessAudit)
	if admission {
		up(event.WitnessState{}, event.WitnessAdmission)
	}
	w.add(event.Clock{Header: w.head(event.WitnessEngine), Of: "apiserver"})
	w.add(event.RuntimeContainer{Header: w.head(event.WitnessContainerd), Namespace: "k8s.io", ID: app, Pod: "web-0", PodNamespace: "shop", PodUID: "u1", Name: "app"})
	w.add(event.KubePod{
		Header: w.head(event.WitnessKube), Namespace: "shop", Name: "web-0", UID: "u1", NodeName: "node1", Addresses: []string{"10.1.0.5"}, Started: w.now,
		Containers: []event.KubeContainer{{Name: "app", Kind: event.KubeApp, ID: app, Image: "shop/web:7", Hooks: []event.KubeHook{{Kind: event.KubeLiveness, Argv: probe, Period: event.Duration(10 * time.Second)}}}},
	})
	w.later(10 * time.Second)
	return c
}

// request is one kubectl exec as the API server sees it.
func (c *cluster) request(user string, stage event.KubeStage, received time.Time, code int, argv []string, nonce string) event.KubeRequest {
	return event.KubeRequest{
		Header: event.Header{Time: c.now, Witness: event.WitnessAudit}, ID: event.AuditID("audit-" + nonce), Stage: stage, Received: received,
		Op: event.KubeExec, Verb: "get", URI: "/api/v1/namespaces/shop/pods/web-0/exec?command=" + argv[0], User: event.KubeUser{Name: user},
		Address: "192.0.2.7", UserAgent: "kubectl/v1.37.2", Namespace: "shop", Pod: "web-0", Container: "app", Argv: argv, Code: code,
	}
}

// exec lets a user run argv for some time by kubectl exec; now is then when it
// began.
func (c *cluster) exec(user string, takes time.Duration, argv ...string) event.ExecID {
	c.ids++
	nonce := fmt.Sprint(c.ids)
	received := c.now
	c.add(c.request(user, event.KubeReceived, received, 0, argv, nonce))
	c.later(time.Millisecond)
	if c.admission {
		c.add(event.KubeAdmission{
			Header: c.head(event.WitnessAdmission), Nonce: nonce, Arrived: c.now, Alone: true, Authenticated: true, Op: event.KubeExec,
			User: event.KubeUser{Name: user}, Namespace: "shop", Pod: "web-0", Container: "app", Argv: argv,
		})
	}
	c.later(20 * time.Millisecond)
	x := c.run(user, takes, argv)
	began := c.now
	c.later(2 * time.Millisecond)
	started := c.request(user, event.KubeStarted, received, 101, argv, nonce)
	if c.admission {
		started.Nonce = nonce
	}
	c.add(started)
	c.now = began.Add(takes + 5*time.Millisecond)
	done := c.request(user, event.KubeComplete, received, 101, argv, nonce)
	done.Nonce = started.Nonce
	c.add(done)
	c.now = began
	return x
}

// run starts a process in the pod as the kubelet's runtime does.
func (c *cluster) run(who string, takes time.Duration, argv []string) event.ExecID {
	c.ids++
	x := event.ExecID(fmt.Sprintf("%064x", c.ids))
	c.who[x] = who
	ev := event.RuntimeEvent{Header: c.head(event.WitnessContainerd), Namespace: "k8s.io", Container: app, ExecID: x, Action: event.RuntimeExecAdded}
	c.add(ev)
	c.later(5 * time.Millisecond)
	root := c.process()
	lineage := []event.Ancestor{{ID: c.process(), Comm: "runc", Exe: "/usr/sbin/runc"}, {ID: c.process(), Comm: "containerd-shim"}}
	c.add(event.SessionEntry{Header: c.head(event.WitnessKernel), Root: root, Cause: event.EntryInjected, Container: app, InCgroup: true, Lineage: lineage})
	c.add(event.ProcessExec{Header: c.head(event.WitnessKernel), ID: root, Entry: root, Container: app, Argv: event.Argv{Args: argv}, Exe: event.Executable{Path: event.Text(argv[0])}})
	began := c.now
	ev.Header, ev.Action, ev.PID = c.head(event.WitnessContainerd), event.RuntimeExecStarted, root.PID
	c.add(ev)
	c.now = began.Add(takes)
	c.add(event.ProcessExit{Header: c.head(event.WitnessKernel), ID: root, Entry: root})
	zero := 0
	ev.Header, ev.Action, ev.ExitCode, ev.ExitedAt = c.head(event.WitnessContainerd), event.RuntimeExit, &zero, c.now
	c.add(ev)
	c.now = began
	return x
}

// direct lets somebody use the kubelet's port.
func (c *cluster) direct(takes time.Duration, argv ...string) event.ExecID {
	c.conn++
	id := c.conn
	c.add(event.ClientConnect{Header: c.head(event.WitnessKernel), Conn: id, Service: event.ServiceKubelet, Peer: event.Peer{Address: "10.1.0.66:40000"}})
	c.later(10 * time.Millisecond)
	x := c.run(byStealth, takes, argv)
	began := c.now
	c.now = began.Add(takes + 2*time.Millisecond)
	c.add(event.ClientClose{Header: c.head(event.WitnessKernel), Conn: id})
	c.now = began
	return x
}

// end closes every window.
func (c *cluster) end() {
	c.later(time.Minute)
	c.add(event.Progress{Header: c.head(event.WitnessAudit), Through: c.now.Add(-time.Second)})
	c.add(event.Tick{Header: c.head(event.WitnessEngine)})
}

func (c *cluster) is(a session.Actor, who string) bool {
	switch who {
	case byKubelet:
		return a.Service == event.ServiceKubelet
	case byStealth:
		return a.Address == "10.1.0.66:40000"
	}
	return a.User == who
}

// holdKube fails the test unless s tells the truth about who asked.
func (c *cluster) hold(t rapid.TB, s session.Session) {
	t.Helper()
	who := c.who[s.ExecID]
	switch s.Attribution.Level {
	case session.LevelExact, session.LevelStrong:
		if !c.is(s.Actor, who) {
			t.Fatalf("session %s: wrong name %+v, truth %s", s.ID, s.Actor, who)
		}
	case session.LevelSet:
		if !slices.ContainsFunc(s.Attribution.Candidates, func(a session.Actor) bool { return c.is(a, who) }) {
			t.Fatalf("session %s: %s is not among %+v", s.ID, who, s.Attribution.Candidates)
		}
	case session.LevelNone:
		t.Fatalf("session %s: nobody named, truth %s; gaps %v", s.ID, who, s.Gaps)
	}
}

func ofExec(t *testing.T, m map[session.ID]session.Session, x event.ExecID) session.Session {
	t.Helper()
	for _, s := range m {
		if s.ExecID == x {
			return s
		}
	}
	t.Fatalf("no session of exec %s", x)
	return session.Session{}
}

func TestKubectlExec(t *testing.T) {
	for _, admission := range []bool{true, false} {
		c := newCluster(admission)
		c.exec("alice", time.Second, "/bin/id")
		c.end()
		s := one(t, finally(c.obs))
		c.hold(t, s)
		want := session.LevelStrong
		if admission {
			want = session.LevelExact
		}
		if s.Attribution.Level != want || s.Channel != event.ChannelKubeExecWS || s.Kind != session.KindExec || s.Unexplained.Is {
			t.Errorf("admission %v: level %s, channel %s, kind %s, unexplained %+v", admission, s.Attribution.Level, s.Channel, s.Kind, s.Unexplained)
		}
		if s.Target.Pod != "web-0" || s.Target.Namespace != "shop" || s.Target.ContainerName != "app" || s.Target.Node != "node1" || s.Target.Image != "shop/web:7" {
			t.Errorf("target %+v", s.Target)
		}
		if s.ArgvSource != "request" || s.Actor.Address != "192.0.2.7" {
			t.Errorf("argv from %s, actor %+v", s.ArgvSource, s.Actor)
		}
	}
}

// TestOneRequestTwoProcesses: an audit log that knows of one request does not
// say which of two identical processes is its.
func TestOneRequestTwoProcesses(t *testing.T) {
	c := newCluster(false)
	begin := c.now
	x := c.exec("alice", time.Second, "/bin/id")
	c.now = begin.Add(10 * time.Millisecond)
	y := c.direct(100*time.Millisecond, "/bin/id")
	c.end()
	got := finally(c.obs)
	for _, id := range []event.ExecID{x, y} {
		s := ofExec(t, got, id)
		c.hold(t, s)
		if s.Attribution.Level != session.LevelSet {
			t.Errorf("%s is %s, actor %+v", id, s.Attribution.Level, s.Actor)
		}
	}
}

// TestWindowsTellApart: the second process began before the second request
// came, so it is the first request's.
func TestWindowsTellApart(t *testing.T) {
	c := newCluster(false)
	c.exec("alice", 5*time.Second, "/bin/id")
	c.later(time.Second)
	c.exec("bob", 5*time.Second, "/bin/id")
	c.end()
	for _, s := range finally(c.obs) {
		c.hold(t, s)
		if s.Attribution.Level != session.LevelStrong {
			t.Errorf("%s: %s", s.ExecID, s.Attribution.Level)
		}
	}
}

func TestProbeIsTheKubelets(t *testing.T) {
	c := newCluster(false)
	for range 3 {
		c.run(byKubelet, 10*time.Millisecond, probe)
		c.later(10 * time.Second)
	}
	c.end()
	got := finally(c.obs)
	for _, s := range got {
		c.hold(t, s)
		if s.Kind != session.KindProbe || s.Channel != event.ChannelKubeProbe || s.Unexplained.Is {
			t.Errorf("kind %s, channel %s, unexplained %+v", s.Kind, s.Channel, s.Unexplained)
		}
	}
}

// TestProbeIsNoDisguise: the probe's own command, by somebody else, is shown:
// out of phase, or while somebody talks to the kubelet.
func TestProbeIsNoDisguise(t *testing.T) {
	c := newCluster(false)
	c.run(byKubelet, 10*time.Millisecond, probe)
	c.later(3 * time.Second)
	x := c.direct(10*time.Millisecond, probe...)
	c.later(5 * time.Second)
	y := c.exec("alice", 10*time.Millisecond, probe...)
	c.end()
	got := finally(c.obs)
	s := ofExec(t, got, x)
	c.hold(t, s)
	if s.Kind == session.KindProbe || !s.Unexplained.Is {
		t.Errorf("the kubelet's port: kind %s, %+v", s.Kind, s.Unexplained)
	}
	s = ofExec(t, got, y)
	c.hold(t, s)
	if s.Kind == session.KindProbe {
		t.Errorf("kubectl exec: kind %s", s.Kind)
	}
}

func TestDirectKubeletIsUnexplained(t *testing.T) {
	c := newCluster(true)
	c.direct(time.Second, "/bin/id")
	c.end()
	s := one(t, finally(c.obs))
	c.hold(t, s)
	if !s.Unexplained.Is || s.Attribution.Level != session.LevelSet || s.Channel != event.ChannelKubeletExec {
		t.Errorf("level %s, channel %s, unexplained %+v", s.Attribution.Level, s.Channel, s.Unexplained)
	}
}

func TestRequestWithoutProcess(t *testing.T) {
	c := newCluster(false)
	c.add(event.RuntimeTask{Header: c.head(event.WitnessContainerd), Namespace: "k8s.io", Container: app, PID: 500, Running: true})
	at := c.now
	for _, stage := range []event.KubeStage{event.KubeReceived, event.KubeStarted, event.KubeComplete} {
		code := 101
		if stage == event.KubeReceived {
			code = 0
		}
		c.add(c.request("alice", stage, at, code, []string{"/bin/id"}, "1"))
		c.later(time.Millisecond)
	}
	c.end()
	for _, s := range finally(c.obs) {
		if s.Kind == session.KindStart {
			continue
		}
		if !s.Unexplained.Is || s.Actor.User != "alice" || s.State != session.StateEnded {
			t.Errorf("%+v", s)
		}
	}
}

// TestRefusedTwiceIsOneDeed: kubectl falls back from WebSocket to SPDY.
func TestRefusedTwiceIsOneDeed(t *testing.T) {
	c := newCluster(false)
	for i, verb := range []string{"get", "create"} {
		r := c.request("mallory", event.KubeComplete, c.now, 403, []string{"sh"}, fmt.Sprint(i))
		r.Verb, r.Refused = verb, true
		c.add(r)
		c.later(50 * time.Millisecond)
	}
	c.end()
	s := one(t, finally(c.obs))
	if s.State != session.StateFailed || s.Actor.User != "mallory" || s.Unexplained.Is {
		t.Errorf("%+v", s)
	}
}

func TestCopyIsOneSession(t *testing.T) {
	c := newCluster(false)
	c.exec("alice", 20*time.Millisecond, "test", "-d", "/tmp/in")
	c.later(200 * time.Millisecond)
	c.exec("alice", 50*time.Millisecond, "tar", "-xmf", "-", "-C", "/tmp/in")
	c.end()
	s := one(t, finally(c.obs))
	if s.Kind != session.KindCopy || s.Direction != "in" || s.Path != "/tmp/in" || s.Channel != event.ChannelKubeCopy {
		t.Errorf("%+v", s)
	}
}

// TestTokenAwayFromItsPod: a service account's token that is bound to one pod
// comes from elsewhere.
func TestTokenAwayFromItsPod(t *testing.T) {
	c := newCluster(false)
	x := c.exec("system:serviceaccount:shop:tool", time.Second, "/bin/id")
	for i, o := range c.obs {
		if r, ok := o.(event.KubeRequest); ok {
			r.User.Extra = map[string][]string{"authentication.kubernetes.io/pod-name": {"web-0"}, "authentication.kubernetes.io/pod-uid": {"u1"}}
			c.obs[i] = r
		}
	}
	c.end()
	s := ofExec(t, finally(c.obs), x)
	if len(s.Actor.Doubts) != 1 || !s.Actor.Deputy {
		t.Errorf("actor %+v", s.Actor)
	}
}

// TestKubeOrderOfArrival: in whatever order facts arrive, the audit log even a
// minute late, every command is found, nobody is named wrongly at any time, and
// the sessions come out the same.
func TestKubeOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(rapid.Bool().Draw(t, "admission"))
		c.storm(t)
		want := finally(c.obs)
		commands := 0
		for _, s := range want {
			if s.ExecID != "" {
				commands++
				c.hold(t, s)
			}
		}
		if commands != len(c.who) {
			t.Fatalf("%d sessions, %d commands ran", commands, len(c.who))
		}
		late := c.lateAudit(rapid.SampledFrom([]time.Duration{0, 300 * time.Millisecond, time.Minute}).Draw(t, "audit"), rapid.Int64().Draw(t, "seed"))
		got := c.everyRevision(t, late)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("another order, another truth (-in order +shuffled):\n%s", d)
		}
	})
}

func (c *cluster) storm(t *rapid.T) {
	n := rapid.IntRange(1, 6).Draw(t, "commands")
	begin := c.now
	for range n {
		c.now = begin.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "at")) * time.Millisecond)
		takes := time.Duration(rapid.IntRange(1, 300).Draw(t, "takes")) * time.Millisecond
		switch who := rapid.SampledFrom([]string{"alice", "bob", "carol", byKubelet, byStealth}).Draw(t, "who"); who {
		case byKubelet:
			c.run(who, takes, probe)
		case byStealth:
			c.direct(takes, probe...)
		default:
			c.exec(who, takes, probe...)
		}
	}
	c.now = begin.Add(time.Second)
	c.end()
}

// lateAudit delays everything by up to 300 ms and the audit log by d more. The
// end stays the end.
func (c *cluster) lateAudit(d time.Duration, seed int64) []event.Observation {
	obs := shuffle(c.obs[:len(c.obs)-2], seed)
	if d > 0 {
		isAudit := func(o event.Observation) bool { _, ok := o.(event.KubeRequest); return ok }
		var now, later []event.Observation
		for _, o := range obs {
			if isAudit(o) {
				later = append(later, o)
			} else {
				now = append(now, o)
			}
		}
		wait := event.Tick{Header: event.Header{Time: c.now.Add(-time.Minute + d), Witness: event.WitnessEngine}}
		obs = append(append(now, wait), later...)
	}
	return append(obs, c.obs[len(c.obs)-2:]...)
}

// everyRevision is finally, and holds every single revision to the truth: a name
// must not be wrong even for a moment.
func (c *cluster) everyRevision(t rapid.TB, obs []event.Observation) map[session.ID]session.Session {
	e := correlate.New(correlate.Options{})
	out := map[session.ID]session.Session{}
	keep := func(rs []session.Revision) {
		for _, r := range rs {
			s := r.Session
			if who := c.who[s.ExecID]; s.ExecID != "" && s.SupersededBy == "" &&
				(s.Attribution.Level == session.LevelExact || s.Attribution.Level == session.LevelStrong) && !c.is(s.Actor, who) {
				t.Fatalf("session %s, revised: wrong name %+v, truth %s", s.ID, s.Actor, who)
			}
			out[s.ID] = s
		}
	}
	for _, o := range obs {
		keep(e.Observe(o))
	}
	keep(e.Flush())
	for id, s := range out {
		if s.SupersededBy != "" {
			delete(out, id)
		}
	}
	return out
}

// TestLongSessionKeepsItsActor: who asked does not fade while a command runs on
// and what told of it is forgotten.
func TestLongSessionKeepsItsActor(t *testing.T) {
	w := newWorld(true)
	w.exec(1001, "/bin/sh")
	exit := slices.IndexFunc(w.obs, func(o event.Observation) bool { _, ok := o.(event.ProcessExit); return ok })
	obs := slices.Clone(w.obs[:exit])
	for i := range 60 {
		obs = append(obs, event.Tick{Header: event.Header{Time: w.now.Add(time.Duration(i) * time.Minute), Witness: event.WitnessEngine}})
	}
	for _, o := range w.obs[exit:] {
		if x, ok := o.(event.ProcessExit); ok {
			x.Time = x.Time.Add(time.Hour)
			obs = append(obs, x)
		}
	}
	s := one(t, finally(obs))
	if s.Attribution.Level != session.LevelExact || s.State != session.StateEnded || s.Actor.User != "ann" || s.ArgvSource != "request" {
		t.Errorf("level %s, state %s, actor %+v, argv from %s", s.Attribution.Level, s.State, s.Actor, s.ArgvSource)
	}
}

// TestKubeTwinsInTurn: of the same command by two people, the first process is
// the first request's, because nobody but the API server can have asked; then
// the second process is not.
func TestKubeTwinsInTurn(t *testing.T) {
	c := newCluster(false)
	first := c.exec("alice", time.Second, "/bin/id")
	c.later(300 * time.Millisecond)
	second := c.exec("bob", time.Second, "/bin/id")
	c.later(2 * time.Second)
	c.end()
	m := finally(c.obs)
	for x, who := range map[event.ExecID]string{first: "alice", second: "bob"} {
		if s := ofExec(t, m, x); s.Attribution.Level != session.LevelStrong || s.Actor.User != who {
			t.Errorf("%s's: %s %+v", who, s.Attribution.Level, s.Attribution.Candidates)
		}
	}
}

// TestKubeCandidatesStay: who was at the node's doors is remembered as long as
// commands in pods are looked at again.
func TestKubeCandidatesStay(t *testing.T) {
	for _, later := range []int{1, 10} {
		c := newCluster(false)
		received := c.now
		asked := c.exec("alice", time.Second, "/bin/id")
		c.now = received.Add(5 * time.Millisecond)
		direct := c.direct(time.Second, "/bin/id")
		for range later {
			c.later(time.Minute)
			c.add(event.Progress{Header: c.head(event.WitnessAudit), Through: c.now})
		}
		c.end()
		m := finally(c.obs)
		for _, x := range []event.ExecID{asked, direct} {
			s := ofExec(t, m, x)
			stranger := slices.ContainsFunc(s.Attribution.Candidates, func(a session.Actor) bool { return a.Address == "10.1.0.66:40000" })
			if s.Attribution.Level != session.LevelSet || !stranger {
				t.Errorf("after %d minutes: %s %+v, %+v", later, s.Attribution.Level, s.Attribution.Candidates, s.Actor)
			}
		}
	}
}

// TestKubeScript: what runs of a script is its interpreter.
func TestKubeScript(t *testing.T) {
	c := newCluster(false)
	c.ids++
	received := c.now
	argv := []string{"/opt/backup", "now"}
	c.add(c.request("alice", event.KubeReceived, received, 0, argv, "n"))
	c.later(20 * time.Millisecond)
	x := c.run("alice", time.Second, []string{"/bin/sh", "-e", "/opt/backup", "now"})
	c.add(c.request("alice", event.KubeStarted, received, 101, argv, "n"))
	c.later(2 * time.Second)
	c.add(c.request("alice", event.KubeComplete, received, 101, argv, "n"))
	c.end()
	if s := ofExec(t, finally(c.obs), x); s.Actor.User != "alice" {
		t.Errorf("%s %+v, %+v", s.Attribution.Level, s.Actor, s.Unexplained)
	}
}

// TestCarriedIsBounded: of a pod of which only the request that made it tells, no
// more is kept than of others. What is as long as the bound says that there may
// be more.
func TestCarriedIsBounded(t *testing.T) {
	c := newCluster(false)
	made := &event.KubeObject{Kind: "Pod", Namespace: "shop", Name: "big", Containers: []event.KubeContainer{{Name: "other"}, {Name: "job"}}}
	for i := range session.MaxCarried + 10 {
		made.Containers[1].Hooks = append(made.Containers[1].Hooks, event.KubeHook{Kind: event.KubeLiveness, Argv: []string{fmt.Sprint(i)}})
	}
	r := c.request("alice", event.KubeReceived, c.now, 0, []string{""}, "n")
	r.Op, r.Verb, r.URI, r.Pod, r.Container, r.Argv, r.Object = event.KubePodChange, "create", "/api/v1/namespaces/shop/pods", "big", "", nil, made
	c.add(r)
	c.later(10 * time.Millisecond)
	r.Header, r.Stage, r.Code = c.head(event.WitnessAudit), event.KubeComplete, 201
	c.add(r)
	c.later(time.Second)
	id := event.ContainerID(fmt.Sprintf("%064x", 0xb2))
	c.add(event.RuntimeContainer{Header: c.head(event.WitnessContainerd), Namespace: "k8s.io", ID: id, Name: "job", Pod: "big", PodNamespace: "shop", PodUID: "u2"})
	c.add(event.RuntimeEvent{Header: c.head(event.WitnessContainerd), Namespace: "k8s.io", Action: event.RuntimeStart, Container: id, PID: 999})
	c.end()
	s := one(t, finally(c.obs))
	if s.Actor.User != "alice" || len(s.Carried) != session.MaxCarried || s.Carried[0].Argv[0] != "0" {
		t.Errorf("of %s %d commands, want alice's and %d", s.Actor.User, len(s.Carried), session.MaxCarried)
	}
}
