package attack

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// Answer says whether something is so: yes, no, or that nobody could tell.
type Answer string

// The answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// better answers whether one of two things is so. No answer is none.
func better(a, b Answer) Answer { return first(a, b, Yes, Unknown, No) }

// worse answers whether both are.
func worse(a, b Answer) Answer { return first(a, b, No, Unknown, Yes) }

func first(a, b Answer, order ...Answer) Answer {
	for _, x := range order {
		if a == x || b == x {
			return x
		}
	}
	return ""
}

// Host is what is known of a host: what it has, and of what nobody could tell
// whether it has it. All else it lacks.
type Host struct {
	Have    []Need
	Unclear []Need
}

// AnyHost is a host of which nothing is known.
func AnyHost() Host { return Host{Unclear: Needs()} }

// has answers whether a host has all of some things.
func (h Host) has(all []Need) Answer {
	lack := without(all, h.Have)
	switch {
	case len(lack) == 0:
		return Yes
	case len(without(lack, h.Unclear)) == 0:
		return Unknown
	}
	return No
}

// SeenOn answers whether a host shows the sessions of the row's channel.
func (r Row) SeenOn(h Host) Answer {
	seen := No
	for _, c := range r.Claims {
		if c.Does == Observed {
			seen = better(seen, h.has(c.Needs))
		}
	}
	return seen
}

// Source is a data source of ATT&CK, as T1609 names them.
type Source string

// The data sources of T1609.
const (
	Command Source = "DS0017"
	Process Source = "DS0009"
)

// Sources lists them.
func Sources() []Source { return []Source{Command, Process} }

// Name returns the source's name.
func (s Source) Name() string { return map[Source]string{Command: "Command", Process: "Process"}[s] }

// Component returns the id and the name of the data component that is fed.
func (s Source) Component() (id, name string) {
	switch s {
	case Command:
		return "DC0064", "Command Execution"
	case Process:
		return "DC0032", "Process Creation"
	}
	return "", ""
}

// Procedure is one of the five procedures of T1609.
type Procedure struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Procedures lists them.
func Procedures() []Procedure {
	return []Procedure{{"S0601", "Hildegard"}, {"S0599", "Kinsing"}, {"S0683", "Peirates"}, {"S0623", "Siloscape"}, {"G0139", "TeamTNT"}}
}

// owns reports whether a rule is about the procedure: its id begins with the
// procedure's name, "kinsing-command".
func (p Procedure) owns(rule string) bool {
	return strings.HasPrefix(strings.ToLower(rule), strings.ToLower(p.Name)+"-")
}

// Rule is what coverage has to know of a rule.
type Rule struct {
	ID         string      `json:"id"`
	Title      string      `json:"title"`
	File       string      `json:"file"`
	Line       int         `json:"line"`
	Techniques []Technique `json:"techniques,omitempty"`
	// Channels lists those on which it can hold and of which sessions are seen
	// at all, event.ChannelUnknown among them.
	Channels []event.Channel `json:"channels,omitempty"`
	// Reads lists the fields of a session that it asks about, "programs.exe"
	// and below "session".
	Reads []string `json:"reads,omitempty"`
	// Witnesses lists those that it is about, where it is about no session.
	Witnesses []event.Witness `json:"witnesses,omitempty"`
	// Tests names the tests that passed and in which it found something.
	Tests []string `json:"tests,omitempty"`
}

// ofProcesses and ofCommands are the fields that tell of what ran, and of what
// was asked for.
var (
	ofProcesses = []string{"processes", "processes_total", "programs"}
	ofCommands  = []string{"command", "argv", "path", "direction", "audit_id"}
)

// sources returns the data sources that a rule rests on: those of the fields that
// it asks about; where it asks about neither what was asked for nor what ran,
// those of the doors at which its channels are seen.
func (r Rule) sources(rows map[event.Channel]Row) []Source {
	found := map[Source]bool{
		Command: r.readsOne(ofCommands),
		Process: r.readsOne(ofProcesses),
	}
	if !found[Command] && !found[Process] {
		for _, c := range r.Channels {
			door := rows[c].Planned
			found[Command] = found[Command] || door == DoorService || door == DoorBoth
			found[Process] = found[Process] || door == DoorProcess || door == DoorBoth || c == event.ChannelUnknown
		}
	}
	return slices.DeleteFunc(Sources(), func(s Source) bool { return !found[s] })
}

func (r Rule) readsOne(fields []string) bool {
	return slices.ContainsFunc(r.Reads, func(path string) bool {
		top, _, _ := strings.Cut(path, ".")
		return slices.Contains(fields, top)
	})
}

// RuleCover is a rule with what it rests on and whether a host shows it.
type RuleCover struct {
	Rule
	Sources []Source `json:"sources"`
	// Here says whether a host shows what the rule is about.
	Here Answer `json:"here"`
}

// Cover is what some rules do about one thing. All lists of rules are of ids.
type Cover struct {
	Rules   []string `json:"rules"`
	Tested  []string `json:"tested"`  // those with a test that passed
	Command []string `json:"command"` // those that rest on the data source Command
	Process []string `json:"process"` // those that rest on Process
	// Here says whether a host shows what at least one of them is about; absent
	// without a rule.
	Here Answer `json:"here,omitempty"`
}

func (c *Cover) add(r RuleCover) {
	c.Rules = append(c.Rules, r.ID)
	if len(r.Tests) > 0 {
		c.Tested = append(c.Tested, r.ID)
	}
	if slices.Contains(r.Sources, Command) {
		c.Command = append(c.Command, r.ID)
	}
	if slices.Contains(r.Sources, Process) {
		c.Process = append(c.Process, r.ID)
	}
	c.Here = better(c.Here, r.Here)
}

// TechniqueCover is what rules do about a technique.
type TechniqueCover struct {
	ID   Technique `json:"id"`
	Name string    `json:"name"`
	Cover
	// Channels lists the channels that carry it.
	Channels []event.Channel `json:"channels"`
}

// ProcedureCover is what rules do about a procedure.
type ProcedureCover struct {
	Procedure
	Cover
}

// SourceCover is what rules rest on a data source.
type SourceCover struct {
	ID            Source `json:"id"`
	Name          string `json:"name"`
	Component     string `json:"component"`
	ComponentName string `json:"component_name"`
	Cover
}

// ChannelCover is what rules do about a channel.
type ChannelCover struct {
	ID       event.Channel `json:"id"`
	Way      string        `json:"way"`
	Observed bool          `json:"observed"` // by this version, on some host
	Here     Answer        `json:"here"`
	Rules    []string      `json:"rules"`
}

// Coverage is what rules do about T1609 and its neighbours.
type Coverage struct {
	Techniques []TechniqueCover
	Procedures []ProcedureCover
	Sources    []SourceCover
	Channels   []ChannelCover
	Rules      []RuleCover
}

// Covered says what rules do, in the order of the rules, and what a host shows.
func Covered(rules []Rule, host Host) Coverage {
	rows := make(map[event.Channel]Row)
	var c Coverage
	for _, r := range Rows() {
		rows[r.ID] = r
		c.Channels = append(c.Channels, ChannelCover{ID: r.ID, Way: r.Way, Observed: r.Observed, Here: r.SeenOn(host), Rules: []string{}})
	}
	for _, r := range rules {
		sources := r.sources(rows)
		c.Rules = append(c.Rules, RuleCover{r, sources, r.seenOn(host, rows, sources)})
	}
	c.fill(rows)
	return c
}

// seenOn answers whether a host shows what a rule is about: a channel on which it
// can hold, and processes where it rests on nothing else.
func (r Rule) seenOn(h Host, rows map[event.Channel]Row, sources []Source) Answer {
	here := No
	for _, c := range r.Channels {
		seen := rows[c].SeenOn(h)
		if c == event.ChannelUnknown { // a process of which nobody knows how it came
			seen = h.has([]Need{NeedKernel})
		}
		if !slices.Contains(sources, Command) {
			seen = worse(seen, h.has([]Need{NeedKernel}))
		}
		here = better(here, seen)
	}
	for _, w := range r.Witnesses {
		here = better(here, h.witness(w))
	}
	return here
}

// witness answers whether a witness works, which is when a rule can tell that it
// no longer does.
func (h Host) witness(w event.Witness) Answer {
	switch {
	case w == event.WitnessEngine && len(h.Have) > 0:
		return Yes // sallyport up itself, where there is something for it to do
	case w == event.WitnessEngine && len(h.Unclear) == 0:
		return No
	case slices.Contains(needs, Need(w)):
		return h.has([]Need{Need(w)})
	}
	return Unknown
}

func (c *Coverage) fill(rows map[event.Channel]Row) {
	empty := Cover{Rules: []string{}, Tested: []string{}, Command: []string{}, Process: []string{}}
	for _, t := range Techniques() {
		x := TechniqueCover{ID: t, Name: t.Name(), Cover: empty, Channels: carriers(rows, t)}
		for _, r := range c.Rules {
			if slices.Contains(r.Techniques, t) {
				x.add(r)
			}
		}
		c.Techniques = append(c.Techniques, x)
	}
	for _, p := range Procedures() {
		x := ProcedureCover{p, empty}
		for _, r := range c.Rules {
			if p.owns(r.ID) {
				x.add(r)
			}
		}
		c.Procedures = append(c.Procedures, x)
	}
	for _, s := range Sources() {
		id, name := s.Component()
		x := SourceCover{s, s.Name(), id, name, empty}
		for _, r := range c.Rules {
			if slices.Contains(r.Sources, s) {
				x.add(r)
			}
		}
		c.Sources = append(c.Sources, x)
	}
	for i := range c.Channels {
		x := &c.Channels[i]
		for _, r := range c.Rules {
			if slices.Contains(r.Channels, cmp.Or(rows[x.ID].As, x.ID)) {
				x.Rules = append(x.Rules, r.ID)
			}
		}
	}
}

// carriers lists the channels of a technique, in the order of their ids.
func carriers(rows map[event.Channel]Row, t Technique) []event.Channel {
	out := []event.Channel{}
	for _, id := range slices.SortedFunc(maps.Keys(rows), func(a, b event.Channel) int { return cmp.Compare(a, b) }) {
		if slices.Contains(rows[id].Techniques, t) {
			out = append(out, id)
		}
	}
	return out
}

// Only returns what there is about some techniques: them, the rules about them,
// and the channels that carry them.
func (c Coverage) Only(techniques ...Technique) Coverage {
	var out Coverage
	for _, t := range c.Techniques {
		if slices.Contains(techniques, t.ID) {
			out.Techniques = append(out.Techniques, t)
		}
	}
	for _, r := range c.Rules {
		if slices.ContainsFunc(r.Techniques, func(t Technique) bool { return slices.Contains(techniques, t) }) {
			out.Rules = append(out.Rules, r)
		}
	}
	for _, x := range c.Channels {
		if slices.ContainsFunc(out.Techniques, func(t TechniqueCover) bool { return slices.Contains(t.Channels, x.ID) }) {
			out.Channels = append(out.Channels, x)
		}
	}
	return out
}
