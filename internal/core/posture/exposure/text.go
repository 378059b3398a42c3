package exposure

import (
	"fmt"
	"slices"
	"strings"
)

// Name says what a step is, with its edge's id where it has one.
func (s *Step) Name() string {
	if s.Edge.Does() == "" || !strings.ContainsAny(string(s.Edge), "0123456789") {
		return s.Edge.Does()
	}
	return string(s.Edge) + " " + s.Edge.Does()
}

// Text says which rule allows a step, and where it stands.
func (g *Grant) Text() string {
	out := g.Binding
	if g.Origin.Line > 0 {
		out += " (" + g.Origin.String() + ")"
	}
	out += fmt.Sprintf(", %s rule %d", g.Role, g.Rule)
	if g.RuleAt.Line > 0 {
		out += " (" + g.RuleAt.String() + ")"
	}
	out += ": " + strings.Join(g.Verbs, ",") + " " + strings.Join(g.Resources, ",")
	if len(g.Names) > 0 {
		out += " named " + strings.Join(g.Names, ",")
	}
	return out
}

// PathText writes the steps of an exposure: what allows each, and whom it leads to.
func PathText(via []Step) string {
	var out []string
	for i := range via {
		s := &via[i]
		by := []string{}
		for _, g := range s.Grants {
			what := g.Binding
			if g.Origin.Line > 0 {
				what += " (" + g.Origin.String() + ")"
			}
			if !slices.Contains(by, what) {
				by = append(by, what)
			}
		}
		if s.Setting != "" {
			by = append(by, s.Setting)
		}
		step := strings.Join(by, " and ")
		if i < len(via)-1 {
			step += " -> " + s.To
		}
		if s.Unless != "" {
			step += " (unless " + s.Unless + ")"
		}
		out = append(out, step)
	}
	return strings.Join(out, ", ")
}

// ByDefault reports whether an exposure rests on nothing but what every new cluster
// has: grants, and that a new pod in a namespace without a Pod Security level gets at
// its node. Whose token a pod has somebody has chosen.
func (e *Exposure) ByDefault() bool {
	for i := range e.Via {
		s := &e.Via[i]
		if s.Setting != "" && !s.Usual || slices.ContainsFunc(s.Grants, func(g Grant) bool { return !g.Default }) {
			return false
		}
	}
	return len(e.Via) > 0
}

// Where says where something opened or closed.
func (c *Change) Where() string {
	in := c.Target.Namespace
	switch {
	case c.Target.Pod != "":
		return in + "/" + c.Target.Pod
	case c.Target.Workload != "":
		return in + "/" + c.Target.Workload
	case c.Target.Node != "":
		return "node " + c.Target.Node
	case in == "":
		return "(all)"
	}
	return in
}

// How names the channel, or says that it is by way of others.
func (c *Change) How() string {
	if !c.Direct {
		return "indirect"
	}
	return string(c.Channel)
}
