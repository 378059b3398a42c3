package scan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/posture/gain"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

var gainColumns = []terminal.Column{
	{Title: "CONTAINER", Least: 9},
	{Title: "POWER"},
	{Title: "TOOLS"},
	{Title: "WHAT A COMMAND GETS", Least: 30},
}

// gains prints what a command gets in each container.
func gains(env *terminal.Env, list []gain.Container) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(env.Stdout)
	r := view.Of(env)
	t := terminal.Table{Columns: gainColumns}
	for n := range list {
		c := &list[n]
		style := terminal.Warn
		if c.Power == gain.PowerHost {
			style = terminal.Bold
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: printable.Text(c.Container)}, {Text: string(c.Power), Style: style}, {Text: string(c.Tools)}, {Text: printable.Text(gainWords(&c.Gain))},
		})
	}
	return t.Write(env.Stdout, r.Width, r.Palette)
}

// gainWords says in words what a command gets.
func gainWords(g *gain.Gain) string {
	var out []string
	add := func(s string, is bool) {
		if is {
			out = append(out, s)
		}
	}
	add(g.How, g.How != "")
	if g.User != nil {
		add("uid "+strconv.FormatInt(*g.User, 10), true)
	}
	add("in a user namespace", g.HostUser == inventory.No)
	add("any user and all capabilities for the asking", g.Chooses)
	add(capabilityWords(g), g.Capabilities != gain.BaseUnknown)
	add("no new privileges", g.NoNewPrivs == inventory.Yes)
	add("seccomp "+g.Seccomp, g.Seccomp != "")
	add("the host's "+strings.Join(g.Namespaces, ", "), len(g.Namespaces) > 0)
	add("writable root file system", g.WritableRoot == inventory.Yes)
	add("read-only root file system", g.WritableRoot == inventory.No)
	add("token of "+g.Account, g.Token == inventory.Yes)
	if in := g.Inside; in != nil {
		add(insideWords(in, g.MayRise()), true)
	}
	if unknown := g.Unknown(); len(unknown) > 0 {
		add("unknown: "+strings.ReplaceAll(strings.Join(unknown, ", "), "_", " "), true)
	}
	return strings.Join(out, "; ")
}

func capabilityWords(g *gain.Gain) string {
	out := string(g.Capabilities) + " capabilities"
	if g.Capabilities == gain.BaseNone {
		out = "no capabilities"
	}
	if len(g.Dropped) > 0 {
		out += " without " + strings.Join(g.Dropped, ", ")
	}
	switch {
	case len(g.Added) == 0:
	case g.Capabilities == gain.BaseNone:
		out = "capabilities " + strings.Join(g.Added, ", ")
	default:
		out += " and " + strings.Join(g.Added, ", ")
	}
	return out
}

// programsNamed is how many programs of an image are named in a line.
const programsNamed = 8

// insideWords names programs of an image without their directories: a shell first, then
// what brings more along. setuid says that setuid programs are of use.
func insideWords(i *inventory.Inside, setuid bool) string {
	var names []string
	for _, list := range [][]string{i.Shells, i.Packages, i.Clients, i.Downloaders, i.Interpreters, i.Compilers} {
		for _, p := range list {
			if name := p[strings.LastIndexByte(p, '/')+1:]; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	out := strings.Join(names[:min(len(names), programsNamed)], ", ")
	if more := len(names) - programsNamed; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	if n := len(i.SetUID) + len(i.Capable); n > 0 && setuid {
		if out != "" {
			out += ", "
		}
		out += wording.Plural(n, "program") + " with more rights than its caller"
	}
	if out == "" {
		out = "nothing known by its name"
	}
	if i.By == inventory.ByName {
		out += " (by the image's name)"
	}
	return out
}
