package correlate

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// carriedBy returns the commands in the specifications of containers, those that
// they run themselves among them.
func carriedBy(list []event.KubeContainer) []session.Carried {
	var out []session.Carried
	for i := range list {
		k := &list[i]
		if argv := slices.Concat(k.Command, k.Args); len(argv) > 0 {
			out = append(out, session.Carried{Place: session.PlaceCommand, Container: k.Name, Argv: argv})
		}
		out = append(out, besides(k)...)
	}
	return out[:min(len(out), session.MaxCarried)]
}

// besides returns what is run in a container besides its own command, and what
// its environment makes others load; no more than a session keeps.
func besides(k *event.KubeContainer) []session.Carried {
	var out []session.Carried
	for _, h := range k.Hooks {
		out = append(out, session.Carried{Place: session.Place(h.Kind), Container: k.Name, Argv: h.Argv})
	}
	out = append(out, variables(k.Variables, k.Name)...)
	return out[:min(len(out), session.MaxCarried)]
}

func variables(list []event.Variable, container string) []session.Carried {
	var out []session.Carried
	for _, v := range list {
		c := session.Carried{Place: session.PlaceVariable, Container: container, Name: v.Name}
		if v.Value != "" {
			c.Argv = []string{v.Value}
		}
		out = append(out, c)
	}
	return out
}

// carried returns what a container that starts brings along besides its command,
// as Docker or its pod's specification has it.
func (c *container) carried() []session.Carried {
	switch {
	case c.info != nil:
		out := variables(c.info.Variables, "")
		if h := c.info.Health; h != nil {
			out = append(out, session.Carried{Place: session.PlaceHealthcheck, Argv: h.Argv})
		}
		return out
	case c.pod != nil && c.pod.spec != nil:
		return besides(c.pod.spec)
	}
	return nil
}
