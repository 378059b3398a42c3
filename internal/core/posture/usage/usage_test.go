package usage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/core/session"
)

var (
	day    = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	window = usage.Window{From: day.AddDate(0, 0, -30), To: day}
)

// watching returns witnesses of which the audit log watched all the time.
func watching(states ...event.Observation) *usage.Witnesses {
	w := usage.NewWitnesses()
	if len(states) == 0 {
		states = []event.Observation{event.WitnessState{Header: event.Header{Time: window.From, Witness: event.WitnessAudit}, Up: true}}
	}
	for _, o := range states {
		w.Observe(o)
	}
	return w
}

func object(namespace, name string) inventory.Object {
	return inventory.Object{Namespace: namespace, Name: name}
}

func rule(text string) inventory.Rule {
	f := strings.Fields(text)
	r := inventory.Rule{Verbs: strings.Split(f[0], ",")}
	for _, res := range strings.Split(f[1], ",") {
		group, name, ok := strings.Cut(res, ":")
		if !ok {
			group, name = "", res
		}
		if !slices.Contains(r.Groups, group) {
			r.Groups = append(r.Groups, group)
		}
		r.Resources = append(r.Resources, name)
	}
	if len(f) > 2 {
		r.Names = strings.Split(f[2], ",")
	}
	return r
}

// shop is two namespaces with a bare pod, one of a StatefulSet and one of a Deployment
// each.
func shop(minor int) *inventory.Cluster {
	c := &inventory.Cluster{Version: inventory.Version{Major: 1, Minor: minor}}
	for _, ns := range []string{"shop", "dev"} {
		c.Namespaces = append(c.Namespaces, inventory.Namespace{Object: object("", ns)})
		for name, workload := range map[string]string{"web-7f-x": "Deployment/web", "db-0": "StatefulSet/db", "run": ""} {
			c.Pods = append(c.Pods, inventory.Pod{Object: object(ns, name), Workload: workload, Node: "n1"})
		}
	}
	return c
}

// give binds a role of some rules; who is "User ann", "Group devs" and so on, several
// with commas between.
func give(c *inventory.Cluster, in, name, who string, rules ...string) {
	r := inventory.Role{Object: object(in, name)}
	for _, text := range rules {
		r.Rules = append(r.Rules, rule(text))
	}
	b := inventory.Binding{Object: object(in, name), Role: name, ToClusterRole: in == ""}
	for _, w := range strings.Split(who, ",") {
		kind, of, _ := strings.Cut(w, " ")
		s := inventory.Subject{Kind: inventory.SubjectKind(kind), Name: of}
		if ns, account, ok := strings.Cut(of, "/"); ok {
			s.Namespace, s.Name = ns, account
		}
		b.Subjects = append(b.Subjects, s)
	}
	c.Roles, c.Bindings = append(c.Roles, r), append(c.Bindings, b)
}

// asked is a session of somebody who is known.
func asked(user, channel, verb, namespace, pod string, groups ...string) *session.Session {
	a := session.Actor{Kind: session.ActorKubernetes, User: user, Groups: append(groups, "system:authenticated")}
	return &session.Session{
		Kind: session.KindExec, Channel: event.Channel(channel), Verb: verb, State: session.StateEnded, Started: day.AddDate(0, 0, -3),
		Attribution: session.Attribution{Level: session.LevelExact}, Actor: a, Target: session.Target{Namespace: namespace, Pod: pod},
	}
}

func tally(c *inventory.Cluster, w *usage.Witnesses, sessions ...*session.Session) *usage.Tally {
	t := usage.New(&inventory.Inventory{Cluster: c}, exposure.New(c), w, window)
	for _, s := range sessions {
		t.Add(s)
	}
	return t
}

// told writes a report, a line to a row.
func told(r *usage.Report) (out []string) {
	for n := range r.Rows {
		row := &r.Rows[n]
		what := row.Setting
		if row.Grant != nil {
			what = fmt.Sprintf("%s#%d", row.Grant.Binding, row.Grant.Rule)
		}
		line := fmt.Sprintf("%s %s %s %d/%d/%d", row.State, row.Edge, what, row.Uses, row.Needed, row.Perhaps)
		for _, b := range row.By {
			line += " " + string(b.Actor)
		}
		for _, i := range row.Idle {
			line += " -" + string(i)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

func TestUsed(t *testing.T) {
	perhaps := func(s *session.Session, others ...session.Actor) *session.Session {
		s.Attribution = session.Attribution{Level: session.LevelSet, Candidates: append([]session.Actor{s.Actor}, others...)}
		s.Actor = session.Actor{Kind: session.ActorNone}
		return s
	}
	for _, tt := range []struct {
		name     string
		minor    int
		give     func(*inventory.Cluster)
		sessions []*session.Session
		want     []string
		totals   func(usage.Totals) bool
	}{
		{
			name: "all that suffice are used, and none is needed", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "create pods/exec")
				give(c, "", "b", "Group devs", "* *:*,*")
			},
			sessions: []*session.Session{asked("ann", "K8-EXEC-SPDY", "create", "shop", "run", "devs")},
			want: []string{
				"used X1 RoleBinding shop/a#1 1/0/0 user:ann", "used X1 ClusterRoleBinding b#1 1/0/0 user:ann",
				"unused X2 ClusterRoleBinding b#1 0/0/0", "unused X3 ClusterRoleBinding b#1 0/0/0", "unused X4 ClusterRoleBinding b#1 0/0/0",
				"unused X6 ClusterRoleBinding b#1 0/0/0", "unused X7 ClusterRoleBinding b#1 0/0/0", "unused X9 ClusterRoleBinding b#1 0/0/0",
			},
		},
		{
			name: "by WebSocket it takes get before 1.35", minor: 34,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "get pods/exec")
				give(c, "shop", "b", "User ann", "create pods/exec")
			},
			sessions: []*session.Session{asked("ann", "K8-EXEC-WS", "get", "shop", "run")},
			want:     []string{"used X1 RoleBinding shop/a#1 1/1/0 user:ann", "unused X1 RoleBinding shop/b#1 0/0/0"},
		},
		{
			name: "and create since", minor: 35,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "get pods/exec")
				give(c, "shop", "b", "User ann", "create pods/exec")
			},
			sessions: []*session.Session{asked("ann", "K8-EXEC-WS", "get", "shop", "run")},
			want:     []string{"used X1 RoleBinding shop/b#1 1/1/0 user:ann"},
		},
		{
			name: "a name, a namespace and a group that do not fit are not used", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "create pods/exec db-0")
				give(c, "dev", "b", "User ann", "create pods/exec")
				give(c, "shop", "c", "Group ops", "create pods/exec")
				give(c, "shop", "d", "User ann,User ben,Group devs,ServiceAccount dev/ci", "create pods/exec run")
			},
			sessions: []*session.Session{asked("ann", "K8-EXEC-SPDY", "create", "shop", "run", "devs")},
			want: []string{
				"unused X1 RoleBinding shop/a#1 0/0/0", "unused X1 RoleBinding dev/b#1 0/0/0", "unused X1 RoleBinding shop/c#1 0/0/0",
				"used X1 RoleBinding shop/d#1 1/1/0 user:ann -user:ben -serviceaccount:dev/ci",
			},
		},
		{
			name: "each of several candidates used it perhaps", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "create pods/exec")
				give(c, "shop", "b", "User ben", "create pods/exec")
			},
			sessions: []*session.Session{perhaps(asked("ann", "K8-EXEC-SPDY", "create", "shop", "run"),
				session.Actor{Kind: session.ActorKubernetes, User: "ben", Groups: []string{"system:authenticated"}}, session.Actor{Kind: session.ActorNone})},
			want:   []string{"perhaps X1 RoleBinding shop/a#1 0/0/1 user:ann", "perhaps X1 RoleBinding shop/b#1 0/0/1 user:ben"},
			totals: func(t usage.Totals) bool { return t.Unnamed[usage.DoorKubernetes] == 1 },
		},
		{
			name: "who acts as somebody uses the right to, and somebody's", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "", "a", "User ann", "impersonate users deploy", "impersonate groups ops")
				give(c, "shop", "b", "Group ops", "create pods/exec")
				give(c, "shop", "c", "User ann", "create pods/exec")
			},
			sessions: []*session.Session{func() *session.Session {
				s := asked("deploy", "K8-EXEC-SPDY", "create", "shop", "run", "ops")
				s.Actor.Impersonator = &session.Identity{User: "ann", Groups: []string{"system:authenticated"}}
				return s
			}()},
			want: []string{
				"used X9 ClusterRoleBinding a#1 1/1/0 user:ann", "used X9 ClusterRoleBinding a#2 1/1/0 user:ann",
				"used X1 RoleBinding shop/b#1 1/1/0 user:deploy", "unused X1 RoleBinding shop/c#1 0/0/0",
			},
		},
		{
			name: "of which verb is not known, only who holds both surely used it", minor: 34,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "create,get pods/exec")
				give(c, "shop", "b", "User ann", "get pods/exec")
			},
			sessions: []*session.Session{asked("ann", "K8-EXEC-SPDY", "", "shop", "run")},
			want:     []string{"used X1 RoleBinding shop/a#1 1/0/0 user:ann", "perhaps X1 RoleBinding shop/b#1 0/0/1 user:ann"},
		},
		{
			name: "a change is of its kind and name, a creation of no name", minor: 37,
			give: func(c *inventory.Cluster) {
				give(c, "shop", "a", "User ann", "patch apps:deployments web", "create apps:deployments web", "patch apps:statefulsets")
			},
			sessions: []*session.Session{func() *session.Session {
				s := asked("ann", "K8-WORKLOAD", "patch", "shop", "")
				s.Kind, s.Target.Workload = session.KindChange, "Deployment/web"
				return s
			}()},
			want: []string{"used X7 RoleBinding shop/a#1 1/1/0 user:ann", "unused X7 RoleBinding shop/a#3 0/0/0"},
		},
		{
			name: "what nothing allows, what failed and what nobody may be asked for", minor: 37,
			give: func(c *inventory.Cluster) { give(c, "shop", "a", "User ann", "create pods/exec") },
			sessions: []*session.Session{
				asked("eve", "K8-EXEC-SPDY", "create", "shop", "run"),
				func() *session.Session {
					s := asked("ann", "K8-EXEC-SPDY", "create", "shop", "run")
					s.State = session.StateFailed
					return s
				}(),
				asked("root", "K8-EXEC-SPDY", "create", "shop", "run", "system:masters"),
			},
			want:   []string{"unused X1 RoleBinding shop/a#1 0/0/0"},
			totals: func(t usage.Totals) bool { return t.Beyond == 1 && t.Failed == 1 && t.Masters == 1 && t.Sessions == 3 },
		},
		{
			name: "where groups are not told, those of groups were perhaps used", minor: 37,
			give: func(c *inventory.Cluster) { give(c, "shop", "a", "Group devs", "create pods/exec") },
			sessions: []*session.Session{func() *session.Session {
				s := asked("ann", "K8-EXEC-SPDY", "create", "shop", "run")
				s.Actor.Groups = nil
				return s
			}()},
			want:   []string{"perhaps X1 RoleBinding shop/a#1 0/0/1 user:ann"},
			totals: func(t usage.Totals) bool { return t.Groupless == 1 && t.Beyond == 0 },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop(tt.minor)
			tt.give(c)
			r := tally(c, watching(), tt.sessions...).Report()
			slices.Sort(tt.want)
			if d := cmp.Diff(tt.want, told(&r)); d != "" {
				t.Error(d)
			}
			if tt.totals != nil && !tt.totals(r.Totals) {
				t.Errorf("totals %+v", r.Totals)
			}
		})
	}
}

// TestRestartsAreNoUse: a container that starts again was asked for when its pod was
// made, once for all of the pod's containers.
func TestRestartsAreNoUse(t *testing.T) {
	c := shop(37)
	give(c, "shop", "a", "User ann", "create pods")
	made := func(when time.Time, container string) *session.Session {
		s := asked("ann", "K8-POD", "", "shop", "run")
		s.Kind, s.Target.ContainerName = session.KindStart, container
		s.Evidence = []session.Evidence{{Time: when, Witness: event.WitnessAudit}}
		return s
	}
	old, fresh := window.From.Add(-time.Hour), day.AddDate(0, 0, -4)
	r := tally(c, watching(), made(old, "app"), made(fresh, "app"), made(fresh, "side")).Report()
	if d := cmp.Diff([]string{"used X6 RoleBinding shop/a#1 1/1/0 user:ann"}, told(&r)); d != "" || !r.Rows[0].Last.Equal(fresh) {
		t.Error(d, r.Rows[0].Last)
	}
}

// TestWatched: nothing is called unused where nobody watched, and of how much was
// watched it is said.
func TestWatched(t *testing.T) {
	at := func(days int) event.Header {
		return event.Header{Time: day.AddDate(0, 0, -days), Witness: event.WitnessAudit}
	}
	other := func(h event.Header) event.Header { h.Node = "n2"; return h }
	for _, tt := range []struct {
		name  string
		kept  int // days before the end
		says  []event.Observation
		days  int
		state usage.State
	}{
		{name: "no word", days: 0, state: usage.Unknown},
		{name: "all the time", says: []event.Observation{event.WitnessState{Header: at(40), Up: true}}, days: 30, state: usage.Unused},
		{name: "told late of all the time", says: []event.Observation{event.WitnessState{Header: at(1), Up: true, From: at(90).Time}}, days: 30, state: usage.Unused},
		{name: "since 12 days", says: []event.Observation{event.WitnessState{Header: at(12), Up: true}}, days: 12, state: usage.Unused},
		{
			name: "down in between", days: 25, state: usage.Unused,
			says: []event.Observation{event.WitnessState{Header: at(40), Up: true}, event.WitnessState{Header: at(20)}, event.WitnessState{Header: at(15), Up: true}},
		},
		{
			name: "down, and nothing missed", days: 30, state: usage.Unused,
			says: []event.Observation{
				event.WitnessState{Header: at(40), Up: true}, event.WitnessState{Header: at(20)}, event.WitnessState{Header: at(15), Up: true, From: at(20).Time},
			},
		},
		{
			name: "a loss", days: 28, state: usage.Unused,
			says: []event.Observation{event.WitnessState{Header: at(40), Up: true}, event.Loss{Header: at(3), From: at(5).Time, Count: 1}},
		},
		{name: "a selection", says: []event.Observation{event.WitnessState{Header: at(40), Up: true, Partial: true}}, days: 0, state: usage.Unknown},
		{name: "no longer kept", kept: 7, says: []event.Observation{event.WitnessState{Header: at(40), Up: true}}, days: 7, state: usage.Unused},
		{
			name: "several API servers, of which one was not watched", days: 10, state: usage.Unused,
			says: []event.Observation{event.WitnessState{Header: at(40), Up: true}, event.WitnessState{Header: other(at(10)), Up: true}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := time.Time{}
			if tt.kept > 0 {
				from = day.AddDate(0, 0, -tt.kept)
			}
			w := usage.NewWitnesses()
			w.Kept(from, day)
			for _, o := range tt.says {
				w.Observe(o)
			}
			c := shop(37)
			give(c, "shop", "a", "User ann", "create pods/exec")
			r := tally(c, w).Report()
			if got := int(r.Watched[0].Seconds / 86400); got != tt.days || r.Rows[0].State != tt.state {
				t.Errorf("%s, watched %d days: %+v", r.Rows[0].State, got, r.Watched[0])
			}
		})
	}
}

// TestSilentPolicy: where the audit policy leaves something out, unused is unknown.
func TestSilentPolicy(t *testing.T) {
	c := shop(37)
	c.APIServer = &inventory.APIServer{AuditPolicy: &inventory.Audit{Silent: []string{"pods/exec of user eve"}}}
	give(c, "shop", "a", "User ann", "create pods/exec")
	if r := tally(c, watching()).Report(); r.Rows[0].State != usage.Unknown || !r.PolicyRead {
		t.Errorf("%+v", r.Rows[0])
	}
}
