package correlate_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/playback"
	"github.com/sallyport/sallyport/internal/core/session"
)

// play plays observations to a fleet and returns the last state of each session.
func play(observations []event.Observation) map[session.ID]session.Session {
	p := playback.New(correlate.NewFleet(correlate.Options{}))
	out := map[session.ID]session.Session{}
	take := func(list []session.Revision) {
		for _, r := range list {
			out[r.Session.ID] = r.Session
		}
	}
	for _, o := range observations {
		take(p.Observe(o))
	}
	take(p.Flush())
	return out
}

// TestFleetIsAnEngine: of one host, a fleet makes what an engine makes.
func TestFleetIsAnEngine(t *testing.T) {
	for _, s := range corpus(t) {
		t.Run(s.name, func(t *testing.T) {
			e, f := correlate.New(correlate.Options{}), correlate.NewFleet(correlate.Options{})
			for i, o := range s.observations {
				if diff := cmp.Diff(e.Observe(o), f.Observe(o)); diff != "" {
					t.Fatalf("observation %d (-engine +fleet):\n%s", i, diff)
				}
			}
			if diff := cmp.Diff(e.Flush(), f.Flush()); diff != "" {
				t.Errorf("at the end (-engine +fleet):\n%s", diff)
			}
		})
	}
}

// TestNodesDoNotMix: the stories of the corpus, told by two nodes at once whose
// clocks are an hour apart and whose pids and connections are the same, come to
// what each comes to alone.
func TestNodesDoNotMix(t *testing.T) {
	compared := 0
	for _, s := range corpus(t) {
		if strings.HasPrefix(s.name, "kube") {
			continue // its pods say which node they are on
		}
		t.Run(s.name, func(t *testing.T) {
			alpha, beta := onNode(t, s.observations, "alpha"), onNode(t, s.observations, "beta")
			var both []event.Observation
			for i := range alpha {
				both = append(both, alpha[i], beta[i])
			}
			got, one, other := play(both), play(alpha), play(beta)
			for node, alone := range map[string]map[session.ID]session.Session{"alpha": one, "beta": other} {
				for id, want := range alone {
					if _, is := one[id]; is && node == "beta" {
						continue // a container id that a person chose, on both
					}
					if _, is := other[id]; is && node == "alpha" {
						continue
					}
					compared++
					if want.Target.Node != node {
						t.Errorf("session %s is on node %q", id, want.Target.Node)
					}
					if diff := cmp.Diff(want, got[id], sameSession); diff != "" {
						t.Errorf("node %s, session %s (-alone +both):\n%s", node, id, diff)
					}
				}
			}
		})
	}
	if compared < 50 {
		t.Errorf("only %d sessions were compared", compared)
	}
}

var (
	hexID = regexp.MustCompile(`[0-9a-f]{64}`)
	stamp = regexp.MustCompile(`"2\d\d\d-\d\d-\d\dT[^"]*Z"`)
)

// onNode returns observations as a node's. Those of beta have other ids of
// containers and execs, and a clock that is an hour ahead.
func onNode(t *testing.T, list []event.Observation, node string) []event.Observation {
	t.Helper()
	out := make([]event.Observation, len(list))
	for i, o := range list {
		if h, ok := o.(event.Host); ok {
			h.BootID = event.BootID(node)
			o = h
		}
		text, err := event.Marshal(o)
		if err == nil && node == "beta" {
			text = hexID.ReplaceAllFunc(text, func(id []byte) []byte { slices.Reverse(id); return id })
			text = stamp.ReplaceAllFunc(text, func(v []byte) []byte {
				at, _ := time.Parse(time.RFC3339Nano, string(v[1:len(v)-1]))
				return []byte(`"` + at.Add(time.Hour).Format(time.RFC3339Nano) + `"`)
			})
		}
		if err == nil {
			o, err = event.Unmarshal(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		out[i] = event.WithNode(o, node)
	}
	return out
}

// TestNodeTime: neither the cluster's nor another node's time makes a node's
// time go on, but its own ticks do.
func TestNodeTime(t *testing.T) {
	s := newWorld(true)
	s.exec(1001, "/bin/sh")
	f := correlate.NewFleet(correlate.Options{Nodes: []string{"beta"}})
	published := func(list []session.Revision) bool {
		return slices.ContainsFunc(list, func(r session.Revision) bool { return r.Session.Target.Node == "alpha" })
	}
	for _, o := range s.obs {
		if published(f.Observe(event.WithNode(o, "alpha"))) {
			t.Fatal("published while it still happens")
		}
	}
	later := s.now.Add(time.Hour)
	for _, o := range []event.Observation{
		event.Progress{Header: event.Header{Time: later, Witness: event.WitnessAudit}, Through: later},
		event.Tick{Header: event.Header{Time: later, Witness: event.WitnessEngine}},
		event.Tick{Header: event.Header{Time: later, Witness: event.WitnessEngine, Node: "beta"}},
	} {
		if published(f.Observe(o)) {
			t.Errorf("published by %+v", o)
		}
	}
	if !published(f.Observe(event.Tick{Header: event.Header{Time: s.now.Add(time.Second), Witness: event.WitnessEngine, Node: "alpha"}})) {
		t.Error("not published by the node's own tick")
	}
}

// TestFleetAdopts: a session that runs on a node goes on with a new fleet until
// the node tells its end, and does not end because nothing is heard of it.
func TestFleetAdopts(t *testing.T) {
	root := event.ProcessID{PID: 7, Start: 9}
	old := session.Session{
		ID: "s1", Kind: session.KindEnter, Channel: event.ChannelHostNsenter, State: session.StateRunning, Started: t0,
		Target: session.Target{Node: "alpha", ContainerID: web}, Processes: []session.Process{{ID: root}},
	}
	f := correlate.NewFleet(correlate.Options{Nodes: []string{"alpha"}})
	f.Adopt(old, t0.Add(time.Hour))
	head := func(d time.Duration) event.Header {
		return event.Header{Time: t0.Add(d), Witness: event.WitnessKernel, Node: "alpha"}
	}
	state := event.WitnessState{Header: head(time.Second), Up: true, From: t0.Add(time.Second)}
	for _, o := range []event.Observation{state, event.Tick{Header: head(10 * time.Minute)}} {
		if got := f.Observe(o); len(got) > 0 {
			t.Fatalf("%+v brings %+v", o, got)
		}
	}
	got := f.Observe(event.ProcessExit{Header: head(11 * time.Minute), ID: root, Entry: root, Code: 3})
	got = append(got, f.Observe(event.Tick{Header: head(12 * time.Minute)})...)
	if len(got) != 1 || got[0].Session.ID != "s1" || got[0].Session.State != session.StateEnded || *got[0].Session.ExitCode != 3 {
		t.Errorf("%+v", got)
	}

	// Whose witnesses start anew and do not find it, it ended.
	f = correlate.NewFleet(correlate.Options{Nodes: []string{"alpha"}})
	f.Adopt(old, t0)
	down := event.WitnessState{Header: head(2 * time.Second)}
	up := event.WitnessState{Header: head(3 * time.Second), Up: true, From: t0.Add(3 * time.Second)}
	got = nil
	for _, o := range []event.Observation{state, down, up, event.Tick{Header: head(time.Minute)}} {
		got = append(got, f.Observe(o)...)
	}
	if len(got) != 1 || got[0].Session.State != session.StateEnded || got[0].Session.ExitCode != nil {
		t.Errorf("%+v", got)
	}
}
