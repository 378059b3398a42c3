package correlate_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/playback"
	"github.com/sallyport/sallyport/internal/core/session"
)

// elsewhere turns a story of node1 and its pod web-0 into one of node2 and its pod
// web-1, whose pids are the same.
var elsewhere = strings.NewReplacer(`"web-0"`, `"web-1"`, `/web-0/`, `/web-1/`, `"node1"`, `"node2"`, `"u1"`, `"u2"`, `"boot"`, `"boot2"`, `"audit-`, `"audit-b`, `"nonce":"`, `"nonce":"b`, `10.1.0.`, `10.2.0.`)

var longID = regexp.MustCompile(`[0-9a-f]{64}`)

// ofNodes returns a cluster's story as its collector hears it: what happens on
// the node as the node's, what concerns the API server as nobody's.
func ofNodes(t rapid.TB, c *cluster, second bool) ([]event.Observation, map[event.ExecID]string) {
	t.Helper()
	node, reversed := "node1", func(id event.ExecID) event.ExecID { return id }
	if second {
		node = "node2"
		reversed = func(id event.ExecID) event.ExecID {
			b := []byte(id)
			slices.Reverse(b)
			return event.ExecID(b)
		}
	}
	who := map[event.ExecID]string{}
	for x, name := range c.who {
		who[reversed(x)] = name
	}
	var out []event.Observation
	for _, o := range c.obs {
		text, err := event.Marshal(o)
		if err == nil && second {
			text = longID.ReplaceAllFunc([]byte(elsewhere.Replace(string(text))), func(id []byte) []byte { slices.Reverse(id); return id })
		}
		if err == nil {
			o, err = event.Unmarshal(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		switch o.Head().Witness {
		case event.WitnessKernel, event.WitnessContainerd:
			o = event.WithNode(o, node)
		case event.WitnessEngine:
			if _, clock := o.(event.Clock); !clock {
				o = event.WithNode(o, node)
			}
		}
		out = append(out, o)
	}
	return out, who
}

// TestTwoNodesAndAnAudit: people run the same commands at the same moments in pods
// of two nodes. Each session is on its node, in its pod, and by who asked for
// it, whichever node's word comes first or late.
func TestTwoNodesAndAnAudit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		admission := rapid.Bool().Draw(t, "admission")
		var parts [2][]event.Observation
		who := map[event.ExecID]string{}
		place := map[event.ExecID]string{}
		for i, people := range [][]string{{"ann", "ben"}, {"cem", "dee"}} {
			c := newCluster(admission)
			for range rapid.IntRange(1, 6).Draw(t, "execs") {
				c.exec(rapid.SampledFrom(people).Draw(t, "who"), time.Second, rapid.SampledFrom([]string{"/bin/id", "/bin/sh"}).Draw(t, "argv"))
				c.later(3 * time.Second)
			}
			q := c.request(people[0], event.KubeComplete, c.now, 403, []string{"/bin/no"}, "no")
			q.Refused = true
			c.add(q)
			c.end()
			obs, truth := ofNodes(t, c, i == 1)
			slices.SortStableFunc(obs, func(a, b event.Observation) int { return a.Head().Time.Compare(b.Head().Time) })
			parts[i] = obs
			for x, name := range truth {
				who[x], place[x] = name, []string{"node1/web-0", "node2/web-1"}[i]
			}
		}
		got := playFleet(told(t, parts))
		seen, refused := 0, map[string]string{}
		for _, s := range got {
			if slices.Equal(s.Argv, []string{"/bin/no"}) && s.State == session.StateFailed {
				refused[s.Target.Node+"/"+s.Target.Pod] += s.Actor.User // whose session is made twice is named twice
				continue
			}
			name, known := who[s.ExecID]
			if !known {
				t.Errorf("session of nobody's exec: %+v", s)
				continue
			}
			seen++
			if at := s.Target.Node + "/" + s.Target.Pod; at != place[s.ExecID] || s.Unexplained.Is {
				t.Errorf("%s is at %s, was at %s; unexplained %+v", s.ExecID, at, place[s.ExecID], s.Unexplained)
			}
			want := session.LevelStrong
			if admission {
				want = session.LevelExact
			}
			if s.Actor.User != name || s.Attribution.Level != want {
				t.Errorf("%s is by %q (%s), was by %s", s.ExecID, s.Actor.User, s.Attribution.Level, name)
			}
		}
		if want := map[string]string{"node1/web-0": "ann", "node2/web-1": "cem"}; !maps.Equal(refused, want) {
			t.Errorf("refused requests: %v, want %v", refused, want)
		}
		if seen != len(who) {
			t.Errorf("%d sessions of %d execs", seen, len(who))
		}
	})
}

// told draws how the collector hears it: by time, or what happens on one node
// after all the rest, as of a node that was gone.
func told(t *rapid.T, parts [2][]event.Observation) []event.Observation {
	all := slices.Concat(parts[0], parts[1])
	slices.SortStableFunc(all, func(a, b event.Observation) int { return a.Head().Time.Compare(b.Head().Time) })
	late := rapid.SampledFrom([]string{"", "node1", "node2"}).Draw(t, "late")
	if late == "" {
		return all
	}
	of := func(o event.Observation) bool { return o.Head().Node == late }
	var first, last []event.Observation
	for _, o := range all {
		if of(o) {
			last = append(last, o)
		} else {
			first = append(first, o)
		}
	}
	return append(first, last...)
}

// playFleet plays observations to a collector's fleet that knows its nodes, and
// returns the last state of each session that stands.
func playFleet(observations []event.Observation) map[session.ID]session.Session {
	p := playback.New(correlate.NewFleet(correlate.Options{Nodes: []string{"node1", "node2"}}))
	out := map[session.ID]session.Session{}
	take := func(list []session.Revision) {
		for _, r := range list {
			if out[r.Session.ID] = r.Session; r.Session.SupersededBy != "" {
				delete(out, r.Session.ID)
			}
		}
	}
	for _, o := range observations {
		take(p.Observe(o))
	}
	take(p.Flush())
	return out
}
