package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types/ref"
	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/condition"
	"github.com/sallyport/sallyport/internal/core/policy/field"
	"github.com/sallyport/sallyport/internal/core/session"
)

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
	return field.OnChannel(c, r.fields()...)
}

// fields lists the fields that a rule reads.
func (r *rule) fields() []string {
	var out []string
	for _, u := range r.uses {
		out = append(out, u.Path)
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
	for _, late := range field.Late() {
		for _, u := range r.uses {
			top, _, _ := strings.Cut(u.Path, ".")
			if top == late && !u.Test && !slices.Contains(out, "session."+top) {
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
		if field.MayBeUnknown(u.Path) && !u.Test && field.Supplies(c, u.Path) && !r.asksFor(u.Path) && !slices.Contains(out, u.Root+"."+u.Path) {
			out = append(out, u.Root+"."+u.Path)
		}
	}
	slices.Sort(out)
	return out
}

// asksFor reports whether the rule asks with has() for a field, or for one above
// or below it.
func (r *rule) asksFor(path string) bool {
	return slices.ContainsFunc(r.uses, func(u condition.Use) bool {
		return u.Test && (u.Path == path || strings.HasPrefix(path, u.Path+".") || strings.HasPrefix(u.Path, path+"."))
	})
}

// impossible reports conditions that no session can fulfil, or that ask for what
// none of their channels can have.
func (l *loader) impossible() error {
	values := field.Enums()
	for place, d := range l.rules {
		if d.rule.Blind != nil {
			continue
		}
		for i, c := range d.rule.conditions() {
			mistakes(d.r, conditionNode(d, i), c.NeverEqual(values))
		}
		if len(l.errs) > 0 {
			continue
		}
		l.never(d, place)
	}
	return l.errs.OrNil()
}

func conditionNode(d draft, i int) *yaml.Node {
	if n := d.keys["when"]; n != nil {
		return n
	}
	return d.r.Mapping(d.r.Mapping(d.keys["sequence"])["steps"].Content[i])["when"]
}

// never reports a rule that cannot hold on any channel, and fields that none of
// its channels has.
func (l *loader) never(d draft, place int) {
	r := d.rule
	index := l.set.index
	on := slices.DeleteFunc(slices.Clone(l.set.channels), func(c event.Channel) bool { return !index.channels[c].has(place) })
	for i, c := range r.conditions() {
		for _, u := range c.Uses() {
			if u.Test || len(on) == 0 || r.asksFor(u.Path) || slices.ContainsFunc(on, func(c event.Channel) bool { return field.Supplies(c, u.Path) }) {
				continue
			}
			line, column := c.Place(u)
			line, column = d.r.Place(conditionNode(d, i), line, column)
			d.r.At(line, column, "", "%s.%s is never known on %s", u.Root, u.Path, some(on))
			return
		}
	}
	onChannel := slices.ContainsFunc(on, func(c event.Channel) bool { return l.set.possible(r, l.set.knownOn(r, c)) })
	ofKind := slices.ContainsFunc(field.Kinds(), func(k session.Kind) bool { return index.kinds[k].has(place) })
	if onChannel && ofKind {
		return
	}
	d.r.Errorf(conditionNode(d, 0), "", "the condition can never hold")
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

// observed returns the channels that this version sees, by their own id.
func observed() map[event.Channel]bool {
	out := map[event.Channel]bool{event.ChannelUnknown: true}
	for _, r := range attack.Rows() {
		out[r.ID] = r.Observed && r.As == ""
	}
	return out
}

// guarded returns the channels at whose door something asks the rules before a
// command runs.
func guarded() map[event.Channel]bool {
	out := map[event.Channel]bool{}
	for _, r := range attack.Rows() {
		out[r.ID] = r.Guarded
	}
	return out
}
