package correlate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// door is a guard in a world.
type door struct {
	*world
	self event.Peer
	mute bool          // it has not told of what it lets pass
	hold time.Duration // how long it asks a second person, 0 for not at all
}

// guardUID is whom a guard runs as: nobody who asks for anything.
const guardUID = 4000

func newDoor(s *world) *door {
	d := &door{world: s, self: s.peer(guardUID)}
	d.state(true)
	return d
}

func (d *door) state(up bool) {
	o := event.WitnessState{Header: d.head(event.WitnessGuard), Up: up}
	if up {
		// It knows when it began no better than /proc does.
		id := d.self.ID
		id.Start -= id.Start % uint64(10*time.Millisecond)
		o.From, o.Guards = d.now, []event.ProcessID{id}
	} else {
		o.Reason = "gone"
	}
	d.add(o)
}

func (d *door) tell(o event.Observation) {
	if !d.mute {
		d.add(o)
	}
}

// request asks the guard for something, and the daemon too when it is not stopped.
func (d *door) request(p event.Peer, r event.DockerRequest, what event.Decision, status int, created string) {
	d.conn++
	r.ID, r.Peer, r.Header, r.Certain = event.RequestID{Conn: d.conn}, p, d.head(event.WitnessGuard), true
	d.tell(event.ClientConnect{Header: r.Header, Conn: d.conn, Service: event.ServiceDocker, Peer: p, Tapped: true})
	d.tell(r)
	what.Header, what.Request, what.Kind = r.Header, r.ID, kinds[r.Op]
	if d.hold > 0 {
		waits := what
		waits.Effect, waits.Approver, waits.Stopped, waits.Waiting = effect.Approve, "", false, true
		d.tell(waits)
		d.later(d.hold)
		what.Header = d.head(event.WitnessGuard)
	}
	d.tell(what)
	if !what.Stopped {
		d.later(100 * time.Microsecond)
		inner := r
		inner.ID, inner.Peer = event.RequestID{Conn: d.connect(event.ServiceDocker, d.self)}, d.self
		d.ask(inner, status, created)
		d.later(2 * time.Millisecond)
		d.tell(event.DockerAnswer{Header: d.head(event.WitnessGuard), ID: r.ID, Op: r.Op, Status: status, Created: created})
		d.close(inner.ID.Conn)
	}
	d.tell(event.ClientClose{Header: d.head(event.WitnessGuard), Conn: r.ID.Conn})
}

var kinds = map[event.DockerOp]string{
	event.OpExecCreate: "exec", event.OpExecStart: "exec", event.OpAttach: "attach", event.OpCopyIn: "copy", event.OpCopyOut: "copy",
	event.OpContainerCreate: "start", event.OpContainerStart: "start", event.OpOther: "change",
}

// exec lets uid run argv in web by way of the guard.
func (d *door) exec(uid uint32, start event.Decision, argv ...string) event.ExecID {
	d.ids++
	x := event.ExecID(web[:len(web)-3]) + event.ExecID([]byte{'e', '0' + byte(d.ids/10%10), '0' + byte(d.ids%10)})
	d.truth[x] = uid
	p := d.peer(uid)
	d.request(p, event.DockerRequest{Op: event.OpExecCreate, Ref: string(web), Argv: argv}, event.Decision{Effect: effect.Allow, Channel: event.ChannelDockerExec}, 201, string(x))
	d.docker(event.DockerExecCreate, x, event.Argv{Args: argv}.String())
	d.later(2 * time.Millisecond)
	start.Channel = event.ChannelDockerExec
	d.request(p, event.DockerRequest{Op: event.OpExecStart, ExecID: x}, start, 101, "")
	if start.Stopped {
		return x
	}
	d.docker(event.DockerExecStart, x, event.Argv{Args: argv}.String())
	d.runtime(event.RuntimeExecAdded, x, 0)
	d.later(20 * time.Millisecond)
	root := d.enter(argv, event.Ancestor{Comm: "runc", Exe: "/usr/sbin/runc"}, event.Ancestor{Comm: "containerd-shim"})
	d.runtime(event.RuntimeExecStarted, x, root.PID)
	d.leave(root)
	d.runtime(event.RuntimeExit, x, root.PID)
	d.docker(event.DockerExecDie, x, "")
	return x
}

var allowed = event.Decision{Effect: effect.Allow, Rule: "ops"}

// By way of a guard it is the client who is named, not the guard, though it is the
// guard whom the kernel sees at the daemon's socket.
func TestGuardNamesTheClient(t *testing.T) {
	for _, tapped := range []bool{true, false} {
		d := newDoor(newWorld(tapped))
		d.exec(1001, event.Decision{Effect: effect.Approve, Rule: "four-eyes", Approver: "bob"}, "/bin/id")
		got := one(t, finally(d.obs))
		hold(t, got, 1001)
		if got.Attribution.Level != session.LevelExact || len(got.Processes) != 1 || got.Channel != event.ChannelDockerExec {
			t.Errorf("tapped %v: %+v, %s, processes %v", tapped, got.Attribution, got.Channel, got.Processes)
		}
		if want := (session.Decision{Effect: effect.Approve, Rule: "four-eyes", Approver: "bob"}); got.Decision == nil || *got.Decision != want {
			t.Errorf("decision %+v", got.Decision)
		}
	}
}

// A guard that has not told who asked leaves the asker unknown.
func TestMuteGuardNamesNobody(t *testing.T) {
	d := newDoor(newWorld(true))
	d.mute = true
	d.exec(1001, allowed, "/bin/id")
	got := one(t, finally(d.obs))
	if got.Attribution.Level != session.LevelNone || got.Actor.UID != nil || !slices.Contains(got.Gaps, "it came through a guard, which has not told who asked") {
		t.Errorf("%+v %+v %q", got.Attribution, got.Actor, got.Gaps)
	}
}

// What a guard stops is a session, too: whose, what, where, and by which rule.
func TestRefusals(t *testing.T) {
	stopped := event.Decision{Effect: effect.Deny, Rule: "no-shells", Message: "sallyport: denied", Stopped: true, Channel: event.ChannelDockerExec}
	d := newDoor(newWorld(true))
	d.request(d.peer(1002), event.DockerRequest{Op: event.OpExecCreate, Ref: string(web), Argv: []string{"sh", "-c", "x"}}, stopped, 0, "")
	got := one(t, finally(d.obs))
	hold(t, got, 1002)
	if got.Kind != session.KindExec || got.State != session.StateFailed || got.Target.ContainerName != "web" || !slices.Equal(got.Argv, []string{"sh", "-c", "x"}) ||
		got.Decision == nil || got.Decision.Rule != "no-shells" || !got.Decision.Stopped || got.Unexplained.Is || got.Ended == nil {
		t.Errorf("%+v", got)
	}

	d = newDoor(newWorld(true)) // of what was created, the start
	d.exec(1003, stopped, "/bin/id")
	d.later(3 * time.Second)
	d.add(event.Tick{Header: d.head(event.WitnessEngine)})
	all := finally(d.obs)
	if len(all) != 2 {
		t.Fatalf("%d sessions: %+v", len(all), all)
	}
	for _, s := range all {
		hold(t, s, 1003)
		if s.State != session.StateFailed || !slices.Equal(s.Argv, []string{"/bin/id"}) {
			t.Errorf("%s %q %+v", s.State, s.Argv, s.Decision)
		}
	}

	for op, kind := range kinds {
		if op == event.OpExecStart {
			continue // see above
		}
		d := newDoor(newWorld(true))
		d.request(d.peer(1002), event.DockerRequest{Op: op, Ref: "new"}, stopped, 0, "")
		got := one(t, finally(d.obs))
		hold(t, got, 1002)
		if string(got.Kind) != kind || got.State != session.StateFailed || got.Target.ContainerName != "new" {
			t.Errorf("%s: %s %s %+v", op, got.Kind, got.State, got.Target)
		}
	}
}

// What a guard holds is a session from the start: of who waits. Then it is what
// became of it.
func TestHolds(t *testing.T) {
	approved := event.Decision{Effect: effect.Approve, Rule: "four-eyes", Approver: "bob"}
	waits := func(d *door) event.Decision {
		o := event.Decision{Header: d.head(event.WitnessGuard), Request: event.RequestID{Conn: 7}, Effect: effect.Approve, Rule: "four-eyes", Waiting: true, Channel: event.ChannelDockerExec, Kind: "exec"}
		d.add(event.DockerRequest{Header: o.Header, ID: o.Request, Op: event.OpExecCreate, Ref: string(web), Argv: []string{"/bin/id"}, Peer: d.peer(1001), Certain: true})
		d.add(o)
		d.later(time.Minute)
		d.add(event.Tick{Header: d.head(event.WitnessEngine)})
		return o
	}
	d := newDoor(newWorld(true))
	held := waits(d)
	got := one(t, finally(d.obs))
	hold(t, got, 1001)
	if got.State != session.StateWaiting || got.Ended != nil || !slices.Equal(got.Argv, []string{"/bin/id"}) || got.Decision == nil || got.Decision.Rule != "four-eyes" || got.Decision.Stopped {
		t.Errorf("%+v", got)
	}
	id := got.ID
	held.Header, held.Waiting, held.Stopped, held.Effect = d.head(event.WitnessGuard), false, true, effect.Deny
	d.add(held)
	if got := one(t, finally(d.obs)); got.ID != id || got.State != session.StateFailed || got.Ended == nil || !got.Decision.Stopped {
		t.Errorf("%+v", got)
	}

	d = newDoor(newWorld(true))
	waits(d)
	d.state(false)
	if got := one(t, finally(d.obs)); got.State != session.StateUnknown || !slices.Contains(got.Gaps, "the guard that held it has not told what became of it") {
		t.Errorf("%+v", got)
	}

	d = newDoor(newWorld(true))
	d.hold = 40 * time.Second
	x := d.exec(1001, approved, "/bin/id")
	got = one(t, finally(d.obs))
	hold(t, got, 1001)
	if got.ExecID != x || got.State != session.StateEnded || got.Decision.Approver != "bob" {
		t.Errorf("%+v", got)
	}
}

// A start that a guard held becomes the start that came of it, and not one of the
// container's earlier ones.
func TestHeldStartBecomesItsRun(t *testing.T) {
	d := newDoor(newWorld(true))
	starts := []uint32{501, 502, 503}
	for _, pid := range starts[:2] {
		d.runtime(event.RuntimeStart, "", pid)
		d.later(time.Second)
		d.runtime(event.RuntimeExit, "", pid)
		d.later(10 * time.Second)
	}
	d.hold = 5 * time.Second
	d.request(d.peer(1001), event.DockerRequest{Op: event.OpContainerStart, Ref: string(web)}, event.Decision{Effect: effect.Approve, Approver: "bob"}, 204, "")
	d.runtime(event.RuntimeStart, "", starts[2])
	e := correlate.New(correlate.Options{})
	var held, started session.Session
	keep := func(list []session.Revision) {
		for _, r := range list {
			switch s := r.Session; {
			case s.State == session.StateWaiting || s.SupersededBy != "":
				held = s
			case s.State == session.StateRunning:
				started = s
			}
		}
	}
	for _, o := range d.obs {
		if o.Head().Time.After(d.now.Add(-4 * time.Second)) {
			keep(e.Observe(event.Tick{Header: event.Header{Time: d.now.Add(-4 * time.Second), Witness: event.WitnessEngine}}))
		}
		keep(e.Observe(o))
	}
	keep(e.Flush())
	if held.ID == "" || started.ID == "" || held.SupersededBy != started.ID {
		t.Errorf("%s became %s, want %s", held.ID, held.SupersededBy, started.ID)
	}
}

// An attach by way of a guard is one session.
func TestGuardedAttachIsOne(t *testing.T) {
	d := newDoor(newWorld(true))
	d.later(time.Minute)
	d.request(d.peer(1002), event.DockerRequest{Op: event.OpAttach, Ref: string(web)}, allowed, 101, "")
	d.docker(event.DockerAttach, "", "")
	got := one(t, finally(d.obs))
	hold(t, got, 1002)
	if got.Kind != session.KindAttach || got.Attribution.Level != session.LevelExact || got.Decision == nil {
		t.Errorf("%+v", got)
	}
}

// Whatever the order in which it is told, with others who ask beside the guard or
// by way of it, and with a guard that comes and goes, nobody is named who did not
// ask.
func TestGuardInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDoor(newWorld(rapid.Bool().Draw(t, "tapped")))
		for range rapid.IntRange(1, 6).Draw(t, "execs") {
			d.later(time.Duration(rapid.IntRange(0, 3000).Draw(t, "later")) * time.Millisecond)
			uid := uint32(rapid.IntRange(1001, 1003).Draw(t, "uid"))
			d.hold = time.Duration(rapid.SampledFrom([]int{0, 0, 700, 40_000}).Draw(t, "hold")) * time.Millisecond
			switch rapid.IntRange(0, 4).Draw(t, "way") {
			case 0:
				d.world.exec(uid, "/bin/ls")
			case 1:
				d.later(time.Millisecond)
				d.state(d.mute)
				d.mute = !d.mute
			case 2:
				stopped := event.Decision{Effect: effect.Deny, Stopped: true}
				d.exec(uid, stopped, "/bin/id")
			default:
				d.exec(uid, allowed, "/bin/id")
			}
		}
		d.later(4 * time.Second)
		d.add(event.Tick{Header: d.head(event.WitnessEngine)})
		for _, s := range finally(shuffle(d.obs, rapid.Int64().Draw(t, "order"))) {
			uid, ours := d.truth[s.ExecID]
			switch {
			case !ours:
			case s.Attribution.Level == session.LevelNone && slices.Contains(s.Gaps, "it came through a guard, which has not told who asked"):
			case s.Attribution.Level == session.LevelSet && slices.ContainsFunc(s.Attribution.Candidates, func(a session.Actor) bool { return a.Kind == session.ActorNone }):
			default:
				hold(t, s, uid)
			}
			if a := s.Actor; a.UID != nil && *a.UID == guardUID {
				t.Fatalf("the guard itself is named: %+v", s)
			}
		}
	})
}

// TestRuntimeDoor: what a guard at the runtime decided about an exec stands in its
// session; one that it stopped is a session also where nobody else saw it.
func TestRuntimeDoor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stopped, seen := rapid.Bool().Draw(t, "stopped"), rapid.Bool().Draw(t, "seen")
		d := newDoor(newWorld(rapid.Bool().Draw(t, "tapped")))
		d.add(event.Decision{
			Header: d.head(event.WitnessGuard), Container: web, ExecID: "e1", Channel: event.ChannelRuntimeCtr, Kind: "runtime",
			Effect: effect.Deny, Rule: "r", Message: "no", Stopped: stopped,
		})
		d.later(time.Millisecond)
		if seen {
			d.runtime(event.RuntimeExecAdded, "e1", 0)
		}
		d.later(time.Minute)
		d.add(event.Tick{Header: d.head(event.WitnessEngine)})
		got := finally(shuffle(d.obs, rapid.Int64().Draw(t, "order")))
		if !stopped && !seen {
			if len(got) != 0 {
				t.Fatalf("nothing begins by what was only decided: %+v", got)
			}
			return
		}
		if len(got) != 1 {
			t.Fatalf("%+v", got)
		}
		for _, s := range got {
			if s.Decision == nil || s.Decision.Rule != "r" || s.Decision.Stopped != stopped || s.Target.ContainerID != web ||
				s.State != session.StateFailed || s.Channel != event.ChannelRuntimeCtr || s.Attribution.Level != session.LevelNone {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// TestRuntimeDoorOfContainers: what a guard at the runtime decided about a container
// stands in the session of what it began; one that it stopped is a session, too.
func TestRuntimeDoorOfContainers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDoor(newWorld(rapid.Bool().Draw(t, "tapped")))
		type begin struct {
			rule    string
			stopped bool
		}
		var all []begin
		for i := range rapid.IntRange(1, 4).Draw(t, "begins") {
			b := begin{string(rune('a' + i)), rapid.Bool().Draw(t, "stopped")}
			all = append(all, b)
			told := rapid.Bool().Draw(t, "told") || b.stopped
			if told {
				d.add(event.Decision{
					Header: d.head(event.WitnessGuard), Container: web, Channel: event.ChannelRuntimeRun, Kind: "runtime", Argv: []string{"/bin/x"},
					Effect: effect.Deny, Rule: b.rule, Stopped: b.stopped,
				})
			} else {
				all[i].rule = ""
			}
			d.later(100 * time.Millisecond)
			if !b.stopped {
				pid := uint32(500 + i)
				d.runtime(event.RuntimeStart, "", pid)
				d.later(time.Second)
				d.runtime(event.RuntimeExit, "", pid)
			}
			d.later(2 * time.Second)
		}
		d.later(4 * time.Second)
		d.add(event.Tick{Header: d.head(event.WitnessEngine)})
		want := finally(d.obs)
		if len(want) != len(all) {
			t.Fatalf("%d sessions, want %d: %+v", len(want), len(all), want)
		}
		for _, b := range all {
			found := 0
			for _, s := range want {
				if rule := ruleOf(s); rule != b.rule || (s.State == session.StateFailed) != b.stopped {
					continue
				}
				if found++; b.stopped && (s.Attribution.Level != session.LevelNone || !slices.Equal(s.Argv, []string{"/bin/x"}) || s.Target.ContainerName != "web" || !s.Decision.Stopped) {
					t.Fatalf("%+v", s)
				}
			}
			if found == 0 {
				t.Fatalf("%+v is in none of %+v", b, want)
			}
		}
		if diff := cmp.Diff(want, finally(shuffle(d.obs, rapid.Int64().Draw(t, "order")))); diff != "" {
			t.Fatalf("another order, another truth (-in order +shuffled):\n%s", diff)
		}
	})
}

func ruleOf(s session.Session) string {
	if s.Decision == nil {
		return ""
	}
	return s.Decision.Rule
}
