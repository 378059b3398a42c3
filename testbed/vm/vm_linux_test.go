package vm

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed"
)

// The order of security modules that a host has which wants everything.
const withBPF = "lsm=lockdown,capability,landlock,yama,bpf"

// bootWait bounds one virtual machine; emulation on a busy machine is slow.
const bootWait = 4 * time.Minute

// guest builds the guest once for all tests.
func guest(t *testing.T, arch Arch) *Guest {
	t.Helper()
	if !testbed.Required(testbed.VM) {
		t.Skip("boots other kernels in QEMU; make test-vm runs it (" + testbed.EnvRequire + "=vm)")
	}
	testbed.Require(t, testbed.VM)
	g, err := BuildGuest(t.Context(), arch, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func bothGuests(t *testing.T) map[string]*Guest {
	t.Helper()
	return map[string]*Guest{AMD64.Name: guest(t, AMD64), ARM64.Name: guest(t, ARM64)}
}

func fetch(ctx context.Context, t *testing.T, arch Arch, series, follow string) Kernel {
	t.Helper()
	k, err := Fetch(ctx, arch, series, follow)
	if err != nil {
		testbed.Lack(t, testbed.VM, err.Error())
	}
	return k
}

// TestKernels plays the scenario on kernels that differ in what they let the
// sensor see. All take the same BPF objects.
func TestKernels(t *testing.T) {
	guests := bothGuests(t)
	for _, c := range []struct {
		arch           Arch
		series, follow string
		// missing are the features that the kernel does not have.
		missing []string
		level   kernel.Level
		sees    sight
	}{
		// Debian 12's own: no cgroup/connect_unix (6.7), no sock_*_length (6.3).
		{AMD64, "6.1", "linux-image-cloud-amd64", []string{kernel.FeatureConnectUnix, kernel.FeatureSockLength}, kernel.LevelTrampolines, sight{}},
		{AMD64, "6.12", "linux-image-6.12-cloud-amd64", nil, kernel.LevelTrampolines, sight{peers: true, requests: true}},
		// On arm64 trampolines are attached since 6.4.
		{ARM64, "6.1", "linux-image-cloud-arm64", []string{kernel.FeatureConnectUnix, kernel.FeatureFentry, kernel.FeatureLSM, kernel.FeatureSockLength},
			kernel.LevelTracepoints, sight{}},
		{ARM64, "6.12", "linux-image-6.12-cloud-arm64", nil, kernel.LevelTrampolines, sight{peers: true, requests: true}},
	} {
		t.Run(c.series+" "+c.arch.Name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), bootWait)
			defer cancel()
			k := fetch(ctx, t, c.arch, c.series, c.follow)
			start := time.Now()
			r, err := guests[c.arch.Name].Boot(ctx, k, withBPF)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d observations, %d segments, %v", r.Kernel, len(r.Observations), len(r.Segments), time.Since(start).Round(time.Second))
			if r.Error != "" {
				t.Fatalf("scenario: %s", r.Error)
			}
			if r.Level != c.level {
				t.Errorf("level %s, want %s", r.Level, c.level)
			}
			if diff := cmp.Diff(c.missing, slices.Sorted(maps.Keys(r.Missing))); diff != "" {
				t.Errorf("features that are missing: %s\n%v", diff, r.Missing)
			}
			v := decode(t, r)
			t.Run("state", func(t *testing.T) { v.testState(t, c.sees) })
			t.Run("loss", v.testLoss)
			t.Run("containers", v.testContainers)
			t.Run("entries", v.testEntries)
			t.Run("trees", v.testTrees)
			t.Run("files", v.testFiles)
			t.Run("exits", v.testExits)
			t.Run("runtime", v.testRuntime)
			t.Run("clients", func(t *testing.T) { v.testClients(t, c.sees) })
			t.Run("tcp", func(t *testing.T) { v.testTCP(t, c.sees) })
			t.Run("segments", func(t *testing.T) { v.testSegments(t, c.sees) })
		})
	}
}

// sight is what a kernel lets the sensor see of clients.
type sight struct{ peers, requests bool }

// view is a report, decoded.
type view struct {
	*Report
	all []event.Observation
}

func decode(t *testing.T, r *Report) *view {
	t.Helper()
	v := &view{Report: r}
	for _, raw := range r.Observations {
		o, err := event.Unmarshal(raw)
		if err != nil {
			t.Fatalf("observation %s: %v", raw, err)
		}
		v.all = append(v.all, o)
	}
	return v
}

// some returns the observations of one type that is says yes to.
func some[O event.Observation](v *view, is func(O) bool) []O {
	var out []O
	for _, o := range v.all {
		if o, ok := o.(O); ok && is(o) {
			out = append(out, o)
		}
	}
	return out
}

// exec returns the one exec whose last argument is the mark, apart from those
// of programs that only hand it on.
func (v *view) exec(t *testing.T, program, mark string) event.ProcessExec {
	t.Helper()
	found := some(v, func(o event.ProcessExec) bool {
		return slices.Equal(o.Argv.Args, []string{program, mark})
	})
	if len(found) != 1 {
		t.Fatalf("%s %s was executed %d times, want once", program, mark, len(found))
	}
	return found[0]
}

// entry returns what was said last of an entry.
func (v *view) entry(t *testing.T, root event.ProcessID) event.SessionEntry {
	t.Helper()
	found := some(v, func(o event.SessionEntry) bool { return o.Root == root })
	if len(found) == 0 {
		t.Fatalf("no entry with root %v", root)
	}
	return found[len(found)-1]
}

func (v *view) testState(t *testing.T, want sight) {
	states := some(v, func(event.WitnessState) bool { return true })
	if len(states) != 2 || len(states[0].TCPDoors) != 0 || len(states[1].TCPDoors) != 1 {
		t.Fatalf("%d states, want one, and another when the port is seen: %+v", len(states), states)
	}
	s := states[0]
	if !s.Up || s.Level != string(v.Level) || s.Peers != want.peers || s.Requests != want.requests || s.Reason == "" {
		t.Errorf("state %+v, want up at %s with %+v and a reason", s, v.Level, want)
	}
	if v.Status.Peers != want.peers || v.Status.Requests != want.requests {
		t.Errorf("status %+v, want %+v", v.Status, want)
	}
	for _, p := range v.Status.Programs {
		off := p.Name == "connect_unix" && !want.peers || strings.HasPrefix(p.Name, "sock_") && !want.requests
		if (p.Runs == 0) != off {
			t.Errorf("program %s ran %d times", p.Name, p.Runs)
		}
	}
}

func (v *view) testLoss(t *testing.T) {
	for _, l := range some(v, func(event.Loss) bool { return true }) {
		t.Errorf("lost: %+v", l)
	}
	for _, l := range v.Status.Lost {
		if l.Count > 0 {
			t.Errorf("lost: %+v", l)
		}
	}
	if v.Status.Malformed > 0 {
		t.Errorf("%d malformed records", v.Status.Malformed)
	}
}

// testContainers looks for each container's first process.
func (v *view) testContainers(t *testing.T) {
	for id, path := range Cgroups() {
		want := event.EntryStart
		if id == Found {
			want = event.EntryFound
		}
		roots := some(v, func(o event.SessionEntry) bool { return o.Root.PID == v.Inits[id] })
		if len(roots) != 1 {
			t.Errorf("container %s: %d entries of process %d, want one", id.Short(), len(roots), v.Inits[id])
			continue
		}
		e := roots[0]
		if e.Cause != want || e.Container != id || !e.InCgroup || e.Cgroup != path[strings.LastIndex(path, "/")+1:] {
			t.Errorf("container %s: entry %+v, want cause %s in cgroup %s", id.Short(), e, want, path)
		}
		if n := len(some(v, func(o event.ProcessExec) bool {
			return o.ID == e.Root && o.Entry == e.Root && o.Container == id && o.NSPID == 1 && len(o.Argv.Args) == 2 && o.Argv.Args[1] == MarkInit
		})); n != 1 {
			t.Errorf("container %s: its program was executed %d times, want once", id.Short(), n)
		}
	}
}

// testEntries looks for each way into a container that runs.
func (v *view) testEntries(t *testing.T) {
	for _, c := range []struct {
		program, mark string
		container     event.ContainerID
		cause         event.EntryCause
		inCgroup      bool
		by            string // argument of an ancestor on the host
	}{
		{"/bin/sleep", MarkFoundExec, Found, event.EntryFound, true, ""},
		{"/bin/echo", MarkExecInFound, Found, event.EntryInjected, true, "exec"},
		{"/bin/echo", MarkExecInCRIO, CRIO, event.EntryInjected, true, "exec"},
		{"/bin/echo", MarkUpper, Docker, event.EntryInjected, true, "exec"},
		{"/bin/echo", MarkClonedExec, Cloned, event.EntryInjected, true, "join"},
		{"/bin/echo", MarkNsenter, Docker, event.EntryInjected, false, "nsenter"},
		{"/bin/echo", MarkNsenterMount, Docker, event.EntryInjected, false, "host"},
		{"/bin/echo", MarkChroot, Docker, event.EntryForeignExe, false, "host"},
	} {
		t.Run(c.mark, func(t *testing.T) {
			x := v.exec(t, c.program, c.mark)
			if x.Container != c.container || x.Entry != x.ID {
				t.Errorf("exec %+v, want the root of an entry into %s", x, c.container.Short())
			}
			e := v.entry(t, x.Entry)
			if e.Cause != c.cause || e.Container != c.container || e.InCgroup != c.inCgroup {
				t.Errorf("entry %+v, want cause %s into %s, in cgroup %v", e, c.cause, c.container.Short(), c.inCgroup)
			}
			if c.by != "" && !slices.ContainsFunc(e.Lineage, func(a event.Ancestor) bool { return slices.Contains(a.Argv.Args, c.by) }) {
				t.Errorf("lineage %+v, want an ancestor with argument %q", e.Lineage, c.by)
			}
		})
	}
}

// testTrees follows a process that lost both its parents.
func (v *view) testTrees(t *testing.T) {
	x := v.exec(t, "/bin/echo", MarkOrphan)
	e := v.entry(t, x.Entry)
	if x.ID == x.Entry || x.Parent.PID != v.Inits[Docker] || x.Container != Docker {
		t.Errorf("orphan %+v, want another's entry, the container's first process as parent", x)
	}
	if e.Cause != event.EntryInjected || e.Container != Docker {
		t.Errorf("entry of the orphan %+v, want it injected into %s", e, Docker.Short())
	}
}

// testFiles tells a program of the image from one that was written later.
func (v *view) testFiles(t *testing.T) {
	for path, want := range map[event.Text]bool{"/bin/actor": false, "/bin/upper": true, "/bin/busybox": false} {
		found := some(v, func(o event.ProcessExec) bool { return o.Container == Docker && o.Exe.Path == path })
		if len(found) == 0 {
			t.Errorf("%s was not executed", path)
		}
		for _, x := range found {
			if x.Exe.UpperLayer != want || x.Exe.Inode == 0 || x.Exe.Memfd {
				t.Errorf("executable %+v, want upper layer %v", x.Exe, want)
			}
		}
	}
}

func (v *view) testExits(t *testing.T) {
	for pid, want := range map[uint32]int{v.Killed: 15, v.Inits[Docker]: 9} {
		exits := some(v, func(o event.ProcessExit) bool { return o.ID.PID == pid })
		if len(exits) != 1 || exits[0].Signal != want || exits[0].Code != 128+want {
			t.Errorf("ends of process %d: %+v, want one by signal %d", pid, exits, want)
		}
	}
	// Whoever entered after the sensor had started has left, but for the
	// containers' first processes.
	inits := slices.Collect(maps.Values(v.Inits))
	for _, e := range some(v, func(o event.SessionEntry) bool { return o.Cause != event.EntryFound }) {
		exits := some(v, func(o event.ProcessExit) bool { return o.ID == e.Root })
		if len(exits) != 1 && !slices.Contains(inits, e.Root.PID) {
			t.Errorf("entry %v of %s ended %d times, want once: %+v", e.Root, e.Container.Short(), len(exits), exits)
		}
	}
}

// testRuntime looks for the runtime's own programs on the host.
func (v *view) testRuntime(t *testing.T) {
	for _, command := range []string{"run", "exec"} {
		if len(some(v, func(o event.ProcessExec) bool {
			return o.Entry.IsZero() && o.Container == "" && len(o.Argv.Args) > 1 && o.Argv.Args[0] == "runc" && o.Argv.Args[1] == command
		})) == 0 {
			t.Errorf("runc %s was not seen", command)
		}
	}
}

// testClients looks for those who connected. Without connect_unix they are found
// in the list of sockets, with less known of them.
func (v *view) testClients(t *testing.T, want sight) {
	for uid, pid := range v.Clients {
		found := some(v, func(o event.ClientConnect) bool { return o.Peer.ID.PID == pid })
		if len(found) != 1 {
			t.Errorf("%d connections of process %d, want one: %+v", len(found), pid, found)
			continue
		}
		c := found[0]
		if c.Service != event.ServiceDocker || c.Peer.Cred.UID != uid || c.Peer.Exe != "/init" || !c.Peer.Entry.IsZero() {
			t.Errorf("connection %+v, want one of user %d of the host", c, uid)
		}
		if c.Found == want.peers || c.Tapped != want.requests || (c.Peer.ID.Start != 0) != want.peers {
			t.Errorf("connection %+v, want it to claim what %+v can know", c, want)
		}
		if n := len(some(v, func(o event.ClientClose) bool { return o.Conn == c.Conn })); n != 1 {
			t.Errorf("connection %d was closed %d times, want once", c.Conn, n)
		}
	}
	if !want.peers {
		return // a client that lives shortly may go unseen
	}
	if n := len(some(v, func(o event.ClientConnect) bool {
		return o.Peer.Container == Docker && o.Peer.Exe == "/bin/actor" && !o.Peer.Entry.IsZero()
	})); n != 1 {
		t.Errorf("%d connections out of container %s, want one", n, Docker.Short())
	}
}

// testTCP looks at the client that came by TCP: all kernels show it, and those
// that show requests show its too.
func (v *view) testTCP(t *testing.T, want sight) {
	found := some(v, func(o event.ClientConnect) bool { return o.Peer.ID.PID == v.TCPClient })
	if len(found) == 0 {
		t.Fatal("no connection")
	}
	c := found[0]
	if !c.Peer.HasCred() || c.Peer.Cred.UID != OtherUID || c.Peer.Exe != "/init" || c.Peer.ID.Start == 0 || c.Found || c.Socket != TCPDoor || !strings.HasPrefix(c.Peer.Address, "127.0.0.1:") {
		t.Errorf("connection %+v", c)
	}
	if tapped := found[len(found)-1].Tapped; tapped != want.requests {
		t.Errorf("connections %+v, want tapped %v", found, want.requests)
	}
	if n := len(some(v, func(o event.ClientClose) bool { return o.Conn == c.Conn })); n != 1 {
		t.Errorf("connection %d was closed %d times, want once", c.Conn, n)
	}
	text, err := join(v.Segments, v.TCPClient)
	if err != nil || want.requests != strings.Contains(text[false], `{"Cmd":["`+MarkTCP+`"]}`) {
		t.Errorf("asked %q, %v", text[false], err)
	}
}

// testSegments reads what the clients asked and what they were told.
func (v *view) testSegments(t *testing.T, want sight) {
	if !want.requests {
		if len(v.Segments) > 0 {
			t.Errorf("%d segments, want none", len(v.Segments))
		}
		return
	}
	for uid, pid := range v.Clients {
		text, err := join(v.Segments, pid)
		if err != nil {
			t.Errorf("client %d: %v", uid, err)
		}
		asked, told := text[false], text[true]
		if !strings.HasPrefix(asked, "POST /v1.41/containers/"+string(Docker)+"/exec HTTP/1.1\r\n") ||
			!strings.Contains(asked, `{"Cmd":["`+ClientMark(uid)+`"]}`) ||
			!strings.Contains(asked, "POST /v1.41/exec/"+ExecID+"/start HTTP/1.1\r\n") {
			t.Errorf("client %d asked %q", uid, asked)
		}
		if !strings.HasPrefix(told, "HTTP/1.1 201 Created\r\n") || !strings.Contains(told, `{"Id":"`+ExecID+`"}`) {
			t.Errorf("client %d was told %q", uid, told)
		}
	}
}

// join puts the pieces of a client's connection together, by direction.
func join(all []event.Segment, pid uint32) (map[bool]string, error) {
	text := map[bool]string{}
	for _, s := range all {
		if s.Peer.ID.PID != pid {
			continue
		}
		if !s.Whole || s.Offset != uint64(len(text[s.Sent])) || int(s.Length) != len(s.Data) {
			return text, errors.New("pieces do not join")
		}
		text[s.Sent] += string(s.Data)
	}
	return text, nil
}

// TestLess boots kernels that allow less than they were built for. What is told
// must be what can be used.
func TestLess(t *testing.T) {
	g := guest(t, AMD64)
	for _, c := range []struct {
		name, params string
		level        kernel.Level
		says         string // how the sensor's error begins
	}{
		// Programs for a security module that is not active load and never run.
		{"without LSM", "lsm=lockdown,capability,landlock,yama", kernel.LevelTracepoints, ""},
		// Programs load, but may not read the kernel's memory.
		{"lockdown", withBPF + " lockdown=confidentiality", kernel.LevelServices, "kernel sensor unavailable: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), bootWait)
			defer cancel()
			r, err := g.Boot(ctx, fetch(ctx, t, AMD64, "6.12", "linux-image-6.12-cloud-amd64"), c.params+" -- "+StartOnly)
			if err != nil {
				t.Fatal(err)
			}
			if r.Level != c.level || len(r.Missing) == 0 {
				t.Errorf("level %s, want %s and a reason; missing: %v", r.Level, c.level, r.Missing)
			}
			if !strings.HasPrefix(r.Error, c.says) || (r.Error == "") != (c.says == "") {
				t.Errorf("sensor: %q, want %q", r.Error, c.says)
			}
		})
	}
}
