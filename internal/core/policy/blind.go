package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/nearest"
)

// Blind is what a rule asks that is about witnesses and about no session: that
// one of them, which saw something before, is down for some time, or that it
// lost records.
type Blind struct {
	Witnesses []event.Witness `json:"witnesses"`
	After     time.Duration   `json:"after,omitempty"` // how long it may be down
	Lost      bool            `json:"lost,omitempty"`  // it is about lost records
}

// witnessNames are those that a rule can be about: logs of other tools never say
// that they are down.
var witnessNames = []string{
	string(event.WitnessKernel), string(event.WitnessDocker), string(event.WitnessContainerd), string(event.WitnessCRIO), string(event.WitnessAudit),
	string(event.WitnessAdmission), string(event.WitnessKube), string(event.WitnessGuard), string(event.WitnessNodes), string(event.WitnessEngine),
}

// blind reads what a rule asks of witnesses.
func (l *loader) blind(d draft) {
	r, n, x := d.r, d.keys["blind"], d.rule
	keys := r.Mapping(n, "witnesses", "after", "lost")
	if d.keys["when"] != nil || d.keys["count"] != nil || d.keys["sequence"] != nil {
		r.Errorf(n, "write a rule of its own", "a rule about witnesses asks nothing of sessions")
	}
	if len(x.Effects) != 1 || x.Effects[0] != effect.Alert {
		r.Errorf(d.node, "", "a rule about witnesses can only alert")
	}
	b := &Blind{}
	for _, name := range r.Texts(keys["witnesses"]) {
		if !slices.Contains(witnessNames, name) {
			r.Errorf(keys["witnesses"], nearest.Suggestion(name, witnessNames), "no witness %q", name)
		}
		b.Witnesses = append(b.Witnesses, event.Witness(name))
	}
	if len(b.Witnesses) == 0 {
		r.Errorf(n, strings.Join(witnessNames, ", "), "it does not say which witnesses")
	}
	b.Lost = keys["lost"] != nil && r.Text(keys["lost"]) == "true"
	switch {
	case b.Lost == (keys["after"] != nil):
		r.Errorf(n, "after: 5m, or lost: true", "say how long a witness may be down, or that records are lost")
	case !b.Lost:
		b.After = l.within(r, n, keys["after"])
	}
	x.Blind = b
}

// sighted is a witness, of a node where there are several.
type sighted struct {
	witness event.Witness
	node    string
	lost    string // the stream that lost records; "" for the witness itself
}

// sight is how a witness sees.
type sight struct {
	up     bool
	down   time.Time // since when it has been down; zero when it is not
	reason string
	told   []string // rules
	last   time.Time
}

const (
	// sightsMax bounds the witnesses that are remembered. Nodes choose no names,
	// certificates do.
	sightsMax = 1 << 14
	// lossPause is after how long without losses the next is told of anew.
	lossPause = 10 * time.Minute
)

// Hear takes an observation and returns what rules about witnesses have to say.
// Only what a witness says of itself matters, and the time.
func (e *Engine) Hear(o event.Observation) []finding.Finding {
	var out []finding.Finding
	switch o := o.(type) {
	case event.WitnessState:
		out = e.state(o)
	case event.Loss:
		out = e.loss(o)
	}
	if t := o.Head().Time; t.After(e.heard) {
		e.heard = t
	}
	if e.deadline.IsZero() || e.heard.Before(e.deadline) {
		return out
	}
	e.deadline = time.Time{}
	for _, k := range e.down() {
		out = append(out, e.dark(k, e.sights[k], e.heard)...)
	}
	return out
}

// down returns the witnesses that are down, in an order that is always the same.
func (e *Engine) down() []sighted {
	var out []sighted
	for k, s := range e.sights {
		if !s.down.IsZero() {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b sighted) int { return cmp.Or(cmp.Compare(a.witness, b.witness), cmp.Compare(a.node, b.node)) })
	return out
}

func (e *Engine) sight(k sighted) *sight {
	s := e.sights[k]
	if s == nil {
		s = &sight{up: k.witness == event.WitnessEngine} // that never says that it begins
		if len(e.sights) < sightsMax {
			e.sights[k] = s
		}
	}
	return s
}

// state notes that a witness is up or down. One that never was up is one that
// this host does not have.
func (e *Engine) state(o event.WitnessState) []finding.Finding {
	k := sighted{witness: o.Witness, node: o.Node}
	s := e.sight(k)
	switch {
	case !o.Up && s.up && s.down.IsZero():
		s.down, s.reason = o.Time, o.Reason
		e.deadline = o.Time // look when the next thing is heard
	case o.Up:
		var out []finding.Finding
		if from := o.From; !s.down.IsZero() && (from.IsZero() || from.After(s.down)) { // else it missed nothing
			if from.IsZero() {
				from = o.Time
			}
			out = e.dark(k, s, from)
		}
		*s = sight{up: true}
		return out
	}
	return nil
}

// dark returns what is to be said of a witness that is down until now, and sees
// to it that it is looked at again.
func (e *Engine) dark(k sighted, s *sight, now time.Time) []finding.Finding {
	if s.down.IsZero() {
		return nil
	}
	var out []finding.Finding
	for _, r := range e.blind {
		if r.Blind.Lost || !slices.Contains(r.Blind.Witnesses, k.witness) || slices.Contains(s.told, r.ID) {
			continue
		}
		if due := s.down.Add(r.Blind.After); now.Before(due) {
			if e.deadline.IsZero() || due.Before(e.deadline) {
				e.deadline = due
			}
			continue
		}
		s.told = append(s.told, r.ID)
		out = append(out, e.blindness(r, k, s.down, s.reason))
	}
	return out
}

// loss notes that records were lost: the first of a run of losses is told of.
func (e *Engine) loss(o event.Loss) []finding.Finding {
	k := sighted{o.Witness, o.Node, "records of " + o.What}
	s := e.sight(k)
	again := !s.last.IsZero() && o.From.Sub(s.last) < lossPause
	if o.Time.After(s.last) {
		s.last = o.Time
	}
	if again {
		return nil
	}
	reason := "nobody can say how many"
	if o.Count > 0 {
		reason = fmt.Sprintf("%d at first", o.Count)
	}
	var out []finding.Finding
	for _, r := range e.blind {
		if r.Blind.Lost && slices.Contains(r.Blind.Witnesses, o.Witness) {
			out = append(out, e.blindness(r, k, o.From, k.lost+" were lost, "+reason))
		}
	}
	return out
}

// blindness makes the finding of a rule about a witness.
func (e *Engine) blindness(r *rule, k sighted, since time.Time, reason string) finding.Finding {
	e.stats.Findings++
	at := since.UTC().Format(time.RFC3339Nano)
	f := finding.Finding{
		Rule: r.ID, Severity: r.Severity, Title: r.Title, Message: r.Title, Time: since, Effect: effect.Alert,
		Subject:  strings.Join([]string{"witness", k.node, string(k.witness), k.lost, at}, "/"),
		Target:   &finding.Target{Node: k.node, Object: "witness " + string(k.witness)},
		Evidence: []finding.Evidence{{Time: since, Source: string(k.witness), What: "witness_state", Detail: reason}},
		Attack:   r.Attack, CIS: r.CIS, Remedy: r.Remedy,
	}
	if k.lost != "" {
		f.Evidence[0].What = "loss"
	}
	f.ID = finding.NewID(r.ID, f.Subject)
	if r.message != nil {
		about := Subject{Rule: r.ID, Witness: string(k.witness), Node: k.node, Since: since.UTC().Format(time.RFC3339), Reason: reason}
		if text, err := render(r.message, about); err == nil {
			f.Message = text
		}
	}
	return f
}
