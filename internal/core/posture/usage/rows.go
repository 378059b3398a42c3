package usage

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
)

// State says whether a grant was used.
type State string

// The states, those that say most first.
const (
	Used    State = "used"    // by a session whose actor is known
	Perhaps State = "perhaps" // by one of which several may be the actor
	Unused  State = "unused"  // by none, in the time that was watched
	Unknown State = "unknown" // nobody watched who would have seen it
)

var states = []State{Used, Perhaps, Unused, Unknown}

// Row is a grant that leads to a command, and what was seen of its use.
type Row struct {
	State State `json:"state"`
	// Edge is the kind of step that it allows.
	Edge exposure.Edge `json:"edge"`
	// Grant is the rule of a cluster that allows it; Setting says what allows it on
	// a host, whose name Host then is, and Actor to whom.
	Grant   *exposure.Grant `json:"grant,omitempty"`
	Host    string          `json:"host,omitempty"`
	Actor   exposure.Actor  `json:"actor,omitempty"`
	Setting string          `json:"setting,omitempty"`

	// Uses counts sessions of known actors; Needed those of them for which no other
	// grant would have sufficed; Perhaps those that it may have been.
	Uses    int        `json:"uses"`
	Needed  int        `json:"needed"`
	Perhaps int        `json:"perhaps"`
	First   *time.Time `json:"first,omitempty"`
	Last    *time.Time `json:"last,omitempty"`
	// By lists who, at most 32; More counts others.
	By       []ByActor             `json:"by,omitempty"`
	More     int                   `json:"more,omitempty"`
	Channels map[event.Channel]int `json:"channels,omitempty"`
	// Idle are those of several whom the binding names by whom it was not used, and
	// not perhaps either.
	Idle []exposure.Actor `json:"idle,omitempty"`
	// Witness is who would have seen it used, WatchedSeconds for how long it watched.
	Witness        event.Witness `json:"witness"`
	WatchedSeconds int64         `json:"watched_seconds"`

	binding int // of the cluster, for a Grant
}

// Report is what a Tally came to.
type Report struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Totals  Totals    `json:"totals"`
	Watched []Watched `json:"watched"`
	Rows    []Row     `json:"-"`
	// Unwatched counts what bindings, beyond what every new cluster has, let somebody
	// do by way of tokens, secrets, roles and certificates: nobody watches its use.
	Unwatched int `json:"unwatched"`
	// Silent is about what the API server's audit log says nothing, as far as its
	// policy was read, which PolicyRead says: unused grants are then unknown.
	Silent     []string `json:"audit_silent,omitempty"`
	PolicyRead bool     `json:"audit_policy_read"`
}

// Report says what was used and what not: used grants first, and those most that were
// used most.
func (t *Tally) Report() Report {
	r := Report{From: t.window.From, To: t.window.To, Totals: t.totals}
	if t.cluster != nil {
		t.cluster.report(&r, t.watched.everywhere(event.WitnessAudit, t.window))
	}
	for _, h := range t.hosts {
		h.report(&r, t.watched, t.window)
	}
	slices.SortStableFunc(r.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(slices.Index(states, a.State), slices.Index(states, b.State)), cmp.Compare(b.Uses, a.Uses), cmp.Compare(b.Perhaps, a.Perhaps))
	})
	return r
}

// guides are the steps to others of which watch sees no session.
var guides = []exposure.Edge{exposure.EdgeMint, exposure.EdgeSecret, exposure.EdgeGrant, exposure.EdgeCertificate, exposure.EdgeRewrite}

func (k *cluster) report(r *Report, audit Watched) {
	r.Watched = append(r.Watched, audit)
	if s := k.APIServer; s != nil && s.AuditPolicy != nil {
		r.PolicyRead, r.Silent = true, s.AuditPolicy.Silent
	}
	for g := range k.index.Grants {
		for _, edge := range k.edges(g) {
			row := k.row(rowKey{g, edge})
			row.judge(&audit, len(r.Silent) > 0)
			r.Rows = append(r.Rows, row)
		}
	}
	levers, _ := k.analysis.Weigh().Levers()
	for n := range levers {
		if e := levers[n].Edge; e == "" || slices.Contains(guides, e) { // a rule that allows everything has none
			r.Unwatched++
		}
	}
}

func (k *cluster) row(key rowKey) Row {
	g := &k.index.Grants[key.grant]
	c, b := k.counts[key], &k.Bindings[g.Binding]
	described := k.analysis.Describe(g)
	out := Row{Edge: key.edge, Grant: &described, binding: g.Binding}
	c.fill(&out)
	for n := range b.Subjects {
		if !c.subjects[n] && len(b.Subjects) > 1 && c.uses+c.perhaps > 0 {
			out.Idle = append(out.Idle, subjectOf(b, &b.Subjects[n]))
		}
	}
	return out
}

// fill writes a count into a row.
func (c *count) fill(r *Row) {
	r.Uses, r.Needed, r.Perhaps, r.More, r.Channels = c.uses, c.needed, c.perhaps, len(c.more), c.channels
	if c.uses > 0 {
		first, last := c.first, c.last
		r.First, r.Last = &first, &last
	}
	for _, a := range slices.Sorted(maps.Keys(c.by)) {
		r.By = append(r.By, *c.by[a])
	}
	slices.SortStableFunc(r.By, func(a, b ByActor) int { return cmp.Or(cmp.Compare(b.Uses, a.Uses), cmp.Compare(b.Perhaps, a.Perhaps)) })
}

// judge says what a row comes to by how long its witness watched; blind says that this
// leaves something out.
func (r *Row) judge(w *Watched, blind bool) {
	r.Witness, r.WatchedSeconds = w.Witness, w.Seconds
	switch {
	case r.Uses > 0:
		r.State = Used
	case r.Perhaps > 0:
		r.State = Perhaps
	case blind || !w.Any():
		r.State = Unknown
	default:
		r.State = Unused
	}
}

// Default reports whether every new cluster has the grant.
func (r *Row) Default() bool { return r.Grant != nil && r.Grant.Default }
