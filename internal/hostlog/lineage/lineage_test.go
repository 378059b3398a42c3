package lineage

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

func TestDoor(t *testing.T) {
	list := func(args ...string) event.Argv { return event.Argv{Args: args} }
	for name, tc := range map[string]struct {
		a    event.Ancestor
		want way
	}{
		"runc exec":     {event.Ancestor{Exe: "/usr/bin/runc", Argv: list("runc", "--root", "/r", "--log-format", "json", "exec", "--process", "/p", "--detach", "--pid-file", "/x/e.pid", "c1")}, way{opExec, "c1"}},
		"by hand":       {event.Ancestor{Exe: "/usr/bin/runc", Argv: list("runc", "exec", "-t", "-u", "0", "c1", "sh", "-c", "create x")}, way{opExec, "c1"}},
		"with =":        {event.Ancestor{Comm: "crun", Argv: list("crun", "--root=/r", "create", "--bundle=/b", "c1")}, way{opCreate, "c1"}},
		"joined":        {event.Ancestor{Comm: "runc", Argv: event.Argv{Args: []string{"runc --root /r create --bundle /b c1"}, Joined: true}}, way{opCreate, "c1"}},
		"runc init":     {event.Ancestor{Comm: "runc", Argv: list("runc", "init")}, way{}},
		"cut short":     {event.Ancestor{Comm: "runc", Argv: list("runc", "exec", "--process")}, way{}},
		"shim of moby":  {event.Ancestor{Exe: "/usr/bin/containerd-shim-runc-v2", Argv: list("shim", "-namespace", "moby", "-id", "c1", "-address", "a")}, way{container: "c1"}},
		"shim of a pod": {event.Ancestor{Exe: "/usr/bin/containerd-shim-runc-v2", Argv: list("shim", "-namespace", "k8s.io", "-id", "sandbox")}, way{}},
		"conmon":        {event.Ancestor{Comm: "conmon", Argv: list("conmon", "-c", "c1", "-n", "web")}, way{container: "c1"}},
		"another":       {event.Ancestor{Comm: "bash", Argv: list("runc", "exec", "c1")}, way{}},
	} {
		if got := door([]event.Ancestor{tc.a}); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// TestTracker tells small histories; each process is "p" and its pid, and what is
// compared is which of them came in, and by which entry the others are.
func TestTracker(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	type step struct {
		seen Seen
		exit uint32
		want uint32 // the root's pid; 0: none
		in   bool   // this process came in
	}
	in := func(pid, ppid uint32, parent string, place Place) Seen {
		s := Seen{PID: pid, PPID: ppid, Place: place}
		if place == Inside {
			s.Container = "c1"
		}
		if parent != "" {
			s.Parents = []Parent{{Ancestor: event.Ancestor{Comm: event.Text(parent)}}}
		}
		return s
	}
	runc := Seen{PID: 20, PPID: 10, Name: "runc", Argv: event.Argv{Args: []string{"runc", "exec", "c1"}}}
	for name, steps := range map[string][]step{
		"by runc, with a child":        {{seen: runc}, {seen: in(21, 20, "", Unknown), want: 21, in: true}, {seen: in(22, 21, "", Unknown), want: 21}},
		"runc gone in that moment":     {{seen: runc}, {exit: 20}, {seen: in(21, 20, "", Unknown), want: 21, in: true}},
		"the same process goes on":     {{seen: runc}, {seen: in(21, 20, "", Unknown), want: 21, in: true}, {seen: in(21, 20, "", Unknown), want: 21}},
		"its pid is used again":        {{seen: runc}, {seen: in(21, 20, "", Unknown), want: 21, in: true}, {exit: 21}, {seen: in(21, 1, "", Unknown)}},
		"parent only by name":          {{seen: in(31, 30, "runc", Inside), want: 31, in: true}},
		"parent is inside, as it says": {{seen: in(31, 30, "nginx", Inside)}},
		"nothing of its parent":        {{seen: in(31, 0, "", Inside), want: 31, in: true}},
		"a process of the host":        {{seen: in(31, 30, "bash", Host)}, {seen: in(32, 31, "", Host)}},
		"out of the host":              {{seen: in(31, 30, "bash", Host)}, {seen: in(32, 31, "", Inside), want: 32, in: true}},
		"a shim starts a shim":         {{seen: Seen{PID: 41, PPID: 40, Name: "containerd-shim", Parents: []Parent{{Ancestor: event.Ancestor{Comm: "containerd-shim"}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(event.WitnessState{Header: event.Header{Witness: event.WitnessAuditd}})
			for i, st := range steps {
				at = at.Add(time.Millisecond)
				if st.exit != 0 {
					tr.Exit(at, "", "", st.exit, nil, 0)
					continue
				}
				st.seen.Time = at
				var root uint32
				came := false
				for _, o := range tr.Exec(st.seen) {
					switch o := o.(type) {
					case event.SessionEntry:
						came = o.Root.PID == st.seen.PID
					case event.ProcessExec:
						root = o.Entry.PID
					}
				}
				if root != st.want || came != st.in {
					t.Errorf("step %d: of entry %d, came in: %v; want %d, %v", i, root, came, st.want, st.in)
				}
			}
		})
	}
}

// TestBounded: a log of any length takes bounded memory.
func TestBounded(t *testing.T) {
	tr := New(event.WitnessState{Header: event.Header{Witness: event.WitnessAuditd}})
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i := range uint32(3 * processesMax) {
		tr.Exec(Seen{Time: at, PID: i + 1, PPID: i, Node: "n"})
	}
	if len(tr.byPID) > processesMax || len(tr.oldest) > processesMax {
		t.Errorf("%d and %d processes are remembered", len(tr.byPID), len(tr.oldest))
	}
}
