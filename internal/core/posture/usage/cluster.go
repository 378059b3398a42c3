package usage

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// cluster counts by the grants of a cluster.
type cluster struct {
	*inventory.Cluster
	analysis *exposure.Analysis
	index    *rbac.Index
	strict   bool // see stream
	counts   map[rowKey]*count
	// others are, for each question, the grants of groups: of users whose groups
	// nobody told they may be.
	others [][]int
	pods   map[objectKey]*inventory.Pod
	needs  needs
	// leading are the bindings that lead to a command.
	leading map[int]bool
	// masters and groupless are the last sessions that were counted as such.
	masters, groupless int
}

type objectKey struct{ namespace, name string }

// rowKey is a rule that a binding gives, and one kind of step that it allows.
type rowKey struct {
	grant int // in index
	edge  exposure.Edge
}

// count is how often something was used.
type count struct {
	uses, needed, perhaps int
	// lastUse and so on are the last sessions that were counted: several may have
	// asked for one.
	lastUse, lastNeeded, lastPerhaps int
	first, last                      time.Time
	by                               map[exposure.Actor]*ByActor
	more                             map[exposure.Actor]bool // beyond actorsMax, at most moreMax
	channels                         map[event.Channel]int
	subjects                         []bool // of the binding, by whom it was used
}

// Bounds of what is remembered of who used a grant.
const (
	actorsMax = 32
	moreMax   = 1 << 10
)

// ByActor is how often one actor used a grant.
type ByActor struct {
	Actor   exposure.Actor `json:"actor"`
	Uses    int            `json:"uses,omitempty"`
	Perhaps int            `json:"perhaps,omitempty"`
	Last    time.Time      `json:"last"`
}

func newCluster(c *inventory.Cluster, a *exposure.Analysis) *cluster {
	k := &cluster{
		Cluster: c, analysis: a, index: rbac.NewIndex(c, table), strict: a.WebSocketNeedsCreate(), counts: map[rowKey]*count{}, needs: newNeeds(),
		others: make([][]int, len(questions)), pods: make(map[objectKey]*inventory.Pod, len(c.Pods)), leading: map[int]bool{},
	}
	for n := range c.Pods {
		k.pods[objectKey{c.Pods[n].Namespace, c.Pods[n].Name}] = &c.Pods[n]
	}
	for _, grants := range k.index.Groups {
		for _, g := range grants {
			for q := range questions {
				if k.index.Grants[g].Mask.Has(q) {
					k.others[q] = append(k.others[q], g)
				}
			}
		}
	}
	for g := range k.index.Grants {
		for _, edge := range k.edges(g) {
			k.leading[k.index.Grants[g].Binding] = true
			k.counts[rowKey{g, edge}] = &count{subjects: make([]bool, len(c.Bindings[k.index.Grants[g].Binding].Subjects))}
		}
	}
	return k
}

// leads reports whether a yes to a question leads to a command: get alone opens no
// stream where create is asked for, too.
func (k *cluster) leads(q int) bool {
	ask := &questions[q]
	return ask.edge != "" && !(k.strict && ask.Verb == verbGet && slices.Contains(streams, ask.Subresource))
}

// edges lists the kinds of steps that a grant allows by itself, in order. Rights that
// hold in no namespace cannot be given for one, and a create is of no name.
func (k *cluster) edges(grant int) (out []exposure.Edge) {
	g := &k.index.Grants[grant]
	for q, ask := range questions {
		switch {
		case !k.leads(q) || !g.Mask.Has(q) || slices.Contains(out, ask.edge):
		case inNoNamespace(ask.Ask) && g.Namespace != "":
		case ask.edge == exposure.EdgeCreate && g.Names != nil:
		default:
			out = append(out, ask.edge)
		}
	}
	return out
}

// demand is what was asked of the API server in somebody's name.
type demand struct {
	id     rbac.Identity
	rights []right
	// groupless says that nobody told his groups.
	groupless bool
}

// demands says in whose names a request was made: an impersonator's and that of who he
// acted as.
func (k *cluster) demands(u *use) []demand {
	rights := requested(u.session, k.strict)
	if len(rights) == 0 {
		return nil
	}
	a := u.actor
	out := []demand{{identity(a.User, a.Groups), rights, len(a.Groups) == 0}}
	if i := a.Impersonator; i != nil {
		out = append(out, demand{identity(i.User, i.Groups), impersonated(a), len(i.Groups) == 0})
	}
	return out
}

// identity is a user with the groups that were told, and those that he surely has.
func identity(user string, told []string) rbac.Identity {
	id := rbac.IdentityOf(user)
	id.Groups = append(id.Groups, told...)
	slices.Sort(id.Groups)
	id.Groups = slices.Compact(id.Groups)
	return id
}

// mark is what a session says of a grant.
type mark struct{ sure, needed bool }

func (k *cluster) use(u *use, t *Totals) {
	for _, d := range k.demands(u) {
		who := exposure.ActorOf(d.id.User)
		switch {
		case slices.Contains(d.id.Groups, rbac.Nodes):
			continue // what a node may do the node authorizer says
		case slices.Contains(d.id.Groups, rbac.Masters):
			once(u.n, &k.masters, &t.Masters)
		}
		if d.groupless {
			once(u.n, &k.groupless, &t.Groupless)
		}
		marks, allowed := k.marks(u, d)
		if !allowed && u.sure {
			t.beyond(who)
		}
		for key, m := range marks {
			if c := k.counts[key]; c != nil {
				c.add(u, who, m)
				c.note(k.Bindings[k.index.Grants[key.grant].Binding].Subjects, d.id)
			}
		}
	}
}

// once counts a session that was not the last to be counted.
func once(n int, last, count *int) {
	if *last != n {
		*last = n
		*count++
	}
}

// marks says which grants would have sufficed for a demand, and whether what it took
// is allowed at all. It notes what it took.
func (k *cluster) marks(u *use, d demand) (marks map[rowKey]mark, allowed bool) {
	marks, allowed = map[rowKey]mark{}, true
	held := k.index.Of(d.id)
	masters := slices.Contains(d.id.Groups, rbac.Masters)
	for _, r := range d.rights {
		able, asked := k.able(held, r)
		others := d.groupless && k.perhaps(marks, held, r)
		if len(able) == 0 && !r.maybe && !masters && !others {
			allowed = false
		}
		for _, g := range able {
			all := len(asked[g]) == len(r.any)
			for _, edge := range edgesOf(r, asked[g]) {
				m := marks[rowKey{g, edge}]
				m.sure = m.sure || u.sure && !r.maybe && all
				m.needed = m.needed || u.sure && !r.maybe && !masters && len(able) == 1 && !d.groupless
				marks[rowKey{g, edge}] = m
			}
		}
		if u.sure && !r.maybe && !masters {
			k.need(u, d.id, r, able, asked)
		}
	}
	return marks, allowed
}

// able lists the grants that would have let a right pass, and which of its questions
// each answers.
func (k *cluster) able(held []int, r right) (able []int, asked map[int][]asking) {
	asked = map[int][]asking{}
	for _, g := range held {
		for _, q := range r.any {
			if k.index.Grants[g].Allows(q.question, q.namespace, q.name) {
				asked[g] = append(asked[g], q)
			}
		}
		if len(asked[g]) > 0 {
			able = append(able, g)
		}
	}
	return able, asked
}

// edgesOf lists the kinds of steps of some questions of a right.
func edgesOf(r right, asked []asking) (out []exposure.Edge) {
	for _, q := range asked {
		if e := questions[q.question].edge; e != "" && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// perhaps marks the grants of groups that somebody may be in of whom no groups are told,
// and reports whether there are such.
func (k *cluster) perhaps(marks map[rowKey]mark, held []int, r right) (any bool) {
	for _, q := range r.any {
		for _, g := range k.others[q.question] {
			key := rowKey{g, questions[q.question].edge}
			if !k.index.Grants[g].Allows(q.question, q.namespace, q.name) || slices.Contains(held, g) {
				continue
			}
			any = true
			if _, ok := marks[key]; !ok {
				marks[key] = mark{}
			}
		}
	}
	return any
}

// add counts one session.
func (c *count) add(u *use, who exposure.Actor, m mark) {
	if c.by == nil {
		c.by, c.more, c.channels = map[exposure.Actor]*ByActor{}, map[exposure.Actor]bool{}, map[event.Channel]int{}
	}
	if c.lastUse != u.n && c.lastPerhaps != u.n {
		c.channels[u.session.Channel]++
	}
	if m.sure {
		once(u.n, &c.lastUse, &c.uses)
		if c.first.IsZero() || u.at.Before(c.first) {
			c.first = u.at
		}
		c.last = later(c.last, u.at)
	} else {
		once(u.n, &c.lastPerhaps, &c.perhaps)
	}
	if m.needed {
		once(u.n, &c.lastNeeded, &c.needed)
	}
	b := c.by[who]
	switch {
	case b != nil:
	case len(c.by) < actorsMax:
		b = &ByActor{Actor: who}
		c.by[who] = b
	default:
		if len(c.more) < moreMax {
			c.more[who] = true
		}
		return
	}
	if m.sure {
		b.Uses++
	} else {
		b.Perhaps++
	}
	b.Last = later(b.Last, u.at)
}

// note marks the subjects of a binding by whom it was used. Who perhaps used it is not
// said to be idle.
func (c *count) note(subjects []inventory.Subject, id rbac.Identity) {
	for n, s := range subjects {
		switch s.Kind {
		case inventory.User:
			c.subjects[n] = c.subjects[n] || s.Name == id.User
		case inventory.Group:
			c.subjects[n] = c.subjects[n] || slices.Contains(id.Groups, s.Name)
		case inventory.ServiceAccountSubject:
			namespace, name, ok := rbac.ServiceAccountOf(id.User)
			c.subjects[n] = c.subjects[n] || ok && name == s.Name && (s.Namespace == "" || s.Namespace == namespace)
		}
	}
}

// subjectOf says who a subject of a binding is.
func subjectOf(b *inventory.Binding, s *inventory.Subject) exposure.Actor {
	switch s.Kind {
	case inventory.Group:
		switch s.Name {
		case rbac.Authenticated:
			return exposure.Anyone
		case rbac.Unauthenticated:
			return exposure.Anonymous
		}
		return exposure.Actor("group:" + s.Name)
	case inventory.ServiceAccountSubject:
		namespace := s.Namespace
		if namespace == "" {
			namespace = b.Namespace
		}
		return exposure.ActorOf(rbac.ServiceAccountUser(namespace, s.Name))
	case inventory.User:
	}
	return exposure.ActorOf(s.Name)
}

// kindOf cuts "Kind/name".
func kindOf(workload string) string {
	kind, _, _ := strings.Cut(workload, "/")
	return kind
}
