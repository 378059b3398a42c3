package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/session"
)

const no = types.False

// Reach says how far a rule gets on a channel.
type Reach string

// The reaches.
const (
	// ReachDecides: all that the rule asks for is there before the command runs.
	ReachDecides Reach = "decidable"
	// ReachAlerts: it can only be told of, when the command runs or has run.
	ReachAlerts Reach = "alert only"
	// ReachNone: nothing of the channel is seen.
	ReachNone Reach = "invisible"
)

// Coverage is what a rule can do on one channel.
type Coverage struct {
	Channel event.Channel `json:"channel"`
	Reach   Reach         `json:"reach"`
	Why     string        `json:"why"`
	// Unsure lists the fields that may be unknown there; then Rule.Unknown says
	// what the rule does.
	Unsure []string `json:"unsure,omitempty"`
}

// Report is what there is to say of one rule that has no mistake.
type Report struct {
	Rule     Rule       `json:"rule"`
	Channels []Coverage `json:"channels"` // those on which it can hold
	// Reads lists the fields of a session that it asks about, below "session",
	// those of programs and processes by their lists alone.
	Reads []string `json:"reads,omitempty"`
}

// Lint explains for each rule on which channels it can hold, and how far it gets
// there.
func (s *Set) Lint() []Report {
	seen, doors := observed(), guarded()
	out := make([]Report, 0, len(s.rules))
	for _, r := range s.rules {
		report := Report{Rule: r.Rule, Reads: r.fields()}
		for _, c := range s.channels {
			if s.possible(r, s.knownOn(r, c)) {
				report.Channels = append(report.Channels, r.coverage(c, seen[c], doors[c]))
			}
		}
		out = append(out, report)
	}
	return out
}

// knownOn returns what is known of every session of a channel.
func (s *Set) knownOn(r *rule, c event.Channel) map[string]ref.Val {
	known := absentOn(c, r.uses)
	maps.Copy(known, apiOn(c))
	known["channel"] = types.String(c)
	return known
}

// fields lists the fields that a rule reads.
func (r *rule) fields() []string {
	var out []string
	for _, u := range r.uses {
		out = append(out, u.path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r *rule) coverage(c event.Channel, seen, door bool) Coverage {
	out := Coverage{Channel: c, Unsure: r.unsure(c)}
	late := r.afterwards()
	says := r.Decides() != "" || r.Has(effect.Record)
	switch {
	case door && says && !r.windowed() && len(late) == 0:
		out.Reach, out.Why = ReachDecides, "all that it asks for is known before the command runs"
	case !seen:
		out.Reach, out.Why = ReachNone, "this version sees no sessions of this channel"
	case r.windowed():
		out.Reach, out.Why = ReachAlerts, "it is about several sessions"
	case len(late) > 0:
		out.Reach, out.Why = ReachAlerts, "known only when the command has run: "+strings.Join(late, ", ")
	case !says:
		out.Reach, out.Why = ReachAlerts, "it alerts"
	default:
		out.Reach, out.Why = ReachAlerts, "no guard stands at this door"
	}
	return out
}

// afterwards lists the fields that the rule reads and no request has.
func (r *rule) afterwards() []string {
	var out []string
	for _, f := range ranFields() {
		for _, u := range r.uses {
			top, _, _ := strings.Cut(u.path, ".")
			if top == f.name && !u.test && !slices.Contains(out, "session."+top) {
				out = append(out, "session."+top)
			}
		}
	}
	return out
}

// unsure lists the fields that the rule reads and that may be unknown.
func (r *rule) unsure(c event.Channel) []string {
	var out []string
	for _, u := range r.uses {
		_, may := unknowns[u.path]
		if may && !u.test && supplies(c, u.path) && !r.asksFor(u.path) && !slices.Contains(out, u.root+"."+u.path) {
			out = append(out, u.root+"."+u.path)
		}
	}
	slices.Sort(out)
	return out
}

// asksFor reports whether the rule asks with has() for a field, or for one above
// or below it.
func (r *rule) asksFor(path string) bool {
	return slices.ContainsFunc(r.uses, func(u use) bool {
		return u.test && (u.path == path || strings.HasPrefix(path, u.path+".") || strings.HasPrefix(u.path, path+"."))
	})
}

// enums lists the values of fields that have only a few.
func enums(channels []event.Channel) map[string][]string {
	text := func(of ...any) []string {
		out := make([]string, len(of))
		for i, v := range of {
			out[i] = fmt.Sprint(v)
		}
		return out
	}
	all := map[string][]string{
		"state":             text(session.StateRunning, session.StateEnded, session.StateFailed, session.StateWaiting, session.StateUnknown),
		"attribution.level": text(session.LevelExact, session.LevelStrong, session.LevelSet, session.LevelNone),
		"actor.kind":        text(session.ActorUnix, session.ActorKubernetes, session.ActorTLS, session.ActorNone),
		"direction":         {"in", "out"},
		"argv_source":       {"request", "inspect", "process", "event", "log"},
	}
	for _, r := range attack.AllAPIRequests() {
		for path, v := range map[string]string{"api.group": r.Group, "api.resource": r.Resource, "api.subresource": r.Subresource} {
			if v != "" && !slices.Contains(all[path], v) {
				all[path] = append(all[path], v)
			}
		}
	}
	for _, k := range kinds() {
		all["kind"] = append(all["kind"], string(k))
	}
	for _, c := range channels {
		all["channel"] = append(all["channel"], string(c))
	}
	return all
}

// impossible reports conditions that no session can fulfil, or that ask for what
// none of their channels can have.
func (l *loader) impossible() error {
	values := enums(l.set.channels)
	for place, d := range l.rules {
		if d.rule.Blind != nil {
			continue
		}
		for i, c := range d.rule.conditions() {
			l.enumerated(d, conditionNode(d, i), c, values)
		}
		if len(l.errs) > 0 {
			continue
		}
		l.never(d, place)
	}
	return l.errs.orNil()
}

func conditionNode(d draft, i int) *yaml.Node {
	if n := d.keys["when"]; n != nil {
		return n
	}
	return d.r.mapping(d.r.mapping(d.keys["sequence"])["steps"].Content[i])["when"]
}

// enumerated checks texts that are compared with a field that has only a few.
func (l *loader) enumerated(d draft, n *yaml.Node, c *condition, values map[string][]string) {
	ast.PreOrderVisit(c.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
			return
		}
		args := e.AsCall().Args()
		switch e.AsCall().FunctionName() {
		case operators.Equals, operators.NotEquals, operators.In:
		default:
			return
		}
		for i, a := range args {
			root, path := selectPath(a)
			known := values[path]
			if known == nil || root != "session" && root != "request" {
				continue
			}
			for _, text := range literals(args[1-i]) {
				if s := string(text.AsLiteral().(types.String)); !slices.Contains(known, s) {
					at := c.ast.SourceInfo().GetStartLocation(text.ID())
					line, column := d.r.place(n, at.Line(), at.Column())
					d.r.at(line, column, nearest.Suggestion(s, known), "%s.%s is never %q", root, path, s)
				}
			}
		}
	}))
}

// literals returns the texts that an expression is, or is a list of.
func literals(e ast.Expr) []ast.Expr {
	var out []ast.Expr
	list := []ast.Expr{e}
	if e.Kind() == ast.ListKind {
		list = e.AsList().Elements()
	}
	for _, x := range list {
		if x.Kind() == ast.LiteralKind {
			if _, ok := x.AsLiteral().(types.String); ok {
				out = append(out, x)
			}
		}
	}
	return out
}

// never reports a rule that cannot hold on any channel, and fields that none of
// its channels has.
func (l *loader) never(d draft, place int) {
	r := d.rule
	index := l.set.index
	on := slices.DeleteFunc(slices.Clone(l.set.channels), func(c event.Channel) bool { return !index.channels[c].has(place) })
	for i, c := range r.conditions() {
		for _, u := range fieldPaths(c.ast) {
			if u.test || len(on) == 0 || r.asksFor(u.path) || slices.ContainsFunc(on, func(c event.Channel) bool { return supplies(c, u.path) }) {
				continue
			}
			at := c.ast.SourceInfo().GetStartLocation(u.id)
			line, column := d.r.place(conditionNode(d, i), at.Line(), at.Column())
			d.r.at(line, column, "", "%s.%s is never known on %s", u.root, u.path, some(on))
			return
		}
	}
	onChannel := slices.ContainsFunc(on, func(c event.Channel) bool { return l.set.possible(r, l.set.knownOn(r, c)) })
	ofKind := slices.ContainsFunc(kinds(), func(k session.Kind) bool { return index.kinds[k].has(place) })
	if onChannel && ofKind {
		return
	}
	d.r.errorf(conditionNode(d, 0), "", "the condition can never hold")
}

// some names the first few channels.
func some(all []event.Channel) string {
	var names []string
	for _, c := range all[:min(len(all), 4)] {
		names = append(names, string(c))
	}
	if len(all) > 4 {
		names = append(names, fmt.Sprintf("%d more", len(all)-4))
	}
	return strings.Join(names, ", ")
}
