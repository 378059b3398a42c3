package scan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

func newCut(env *terminal.Env) *cobra.Command {
	var s sources
	var targets []string
	var most int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cut",
		Short: "Name the bindings and settings whose removal closes most, with the command for each",
		Long: `Name the bindings and settings whose removal takes most actors out of most pods, or
out of most containers of a host's engine, the best first, and each as the best next to
those before it. What is counted are pairs of an actor and a pod or container, with all
that leads there by way of others. What every new cluster has is never proposed. A
removal that closes nothing by itself takes the next ones, too: another gives the same.

Of hosts it names groups, rules of sudo, modes, owners and access control lists of
sockets, TCP ports of an engine, and what containers were given. A host that is a node of
a cluster is counted by the cluster's pods, any other by its engine's containers or,
where none runs, by the engine.

With --target only the way into some of these is counted. Members of system:masters,
and root of a host, are left out: no binding and no setting makes them what they are.
Look at what a binding is for before you remove it; nothing is removed here.

` + sourcesHelp,
		Args: cobra.NoArgs,
		Example: `  sallyport scan cut
  sallyport scan cut --from prod.scan --target shop --target kube-system/etcd-a
  sallyport scan cut --target payments --most 1 --json | jq -r .patch
  sudo sallyport scan cut --from host`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cut(cmd.Context(), env, &s, targets, most, asJSON)
		},
	}
	s.flags(cmd)
	s.namespaceFlag(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&targets, "target", nil, "count the ways into this `NAMESPACE`, NAMESPACE/POD or CONTAINER of a host alone; may be repeated")
	f.IntVar(&most, "most", 10, "name at most `N` removals")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per removal")
	return cmd
}

func cut(ctx context.Context, env *terminal.Env, s *sources, targets []string, most int, asJSON bool) error {
	if most < 1 {
		return exit.Fail(exit.Usage, "", "--most %d: want a positive number", most)
	}
	i, err := gather(ctx, env, s)
	if err != nil {
		return err
	}
	to := cutTargets(targets)
	if err := to.there(i); err != nil {
		return err
	}
	p := env.Progress("Trying what closes most")
	c := to.cut(i, most)
	p.Done()
	if asJSON {
		err = terminal.WriteLines(env.Stdout, c.Removals)
	} else {
		err = cutting(env, &c, countedBy(i))
	}
	return cmp.Or(err, s.covered(i))
}

// cutTargets are namespaces, pods and containers of hosts; none are all.
type cutTargets []string

func (t cutTargets) pod(p *inventory.Pod) bool {
	return len(t) == 0 || slices.Contains(t, p.Namespace) || slices.Contains(t, p.Namespace+"/"+p.Name)
}

func (t cutTargets) container(_ *inventory.Host, c *inventory.DockerOrCRI) bool {
	return slices.Contains(t, c.Name)
}

// there says which target there is not.
func (t cutTargets) there(i *inventory.Inventory) error {
	_, hosts := split(i)
	for _, target := range t {
		one := cutTargets{target}
		found := slices.ContainsFunc(hosts, func(h *inventory.Host) bool {
			return slices.ContainsFunc(h.Running, func(c inventory.DockerOrCRI) bool { return one.container(h, &c) })
		})
		if i.Cluster != nil {
			found = found || slices.ContainsFunc(i.Cluster.Pods, func(p inventory.Pod) bool { return one.pod(&p) })
		}
		if !found {
			return exit.Fail(exit.Usage, "--target NAMESPACE, --target NAMESPACE/POD or, of a host, --target CONTAINER", "cut: there is no pod or container in %s", printable.Text(target))
		}
	}
	return nil
}

// cut works out what closes most, in a cluster with the hosts that are its nodes and on the
// other hosts: nothing that is done on these changes anything there.
func (t cutTargets) cut(i *inventory.Inventory, most int) (out exposure.Cutting) {
	nodes, others := split(i)
	if i.Cluster != nil {
		var wanted func(*inventory.Pod) bool
		if len(t) > 0 {
			wanted = t.pod
		}
		out = exposure.New(i.Cluster, nodes.closable(nil)...).Cut(wanted, most, nodes.closable)
	}
	var wanted func(*inventory.Host, *inventory.DockerOrCRI) bool
	if len(t) > 0 {
		wanted = t.container
	}
	out.Add(hostaccess.Cut(others, wanted, most), most)
	return out
}

// ofHosts is what actors are paired with where there is no cluster.
const ofHosts = "container"

// countedBy names what actors are paired with.
func countedBy(i *inventory.Inventory) string {
	_, others := split(i)
	switch {
	case i.Cluster == nil:
		return ofHosts
	case len(others) == 0:
		return "pod"
	}
	return "pod or container"
}

// roleAt is the column of what hosts do not have.
const roleAt = 4

var cutColumns = []terminal.Column{
	{Title: "CLOSES"}, {Title: "LEFT"}, {Title: "REMOVE"}, {Title: "WHERE", Least: 8}, {Title: "ROLE", Least: 8, Drop: 1}, {Title: "WHO", Least: 12},
}

func cutting(env *terminal.Env, c *exposure.Cutting, of string) error {
	fmt.Fprintf(env.Stdout, "%s of an actor and a %s", wording.Plural(c.Pairs, "pair"), of)
	switch {
	case c.Lasting > 0 && of == ofHosts:
		fmt.Fprintf(env.Stdout, "; %d of them by what no known setting closes", c.Lasting)
	case c.Lasting > 0:
		fmt.Fprintf(env.Stdout, "; %d of them by what every new cluster has, or by what no binding and no known setting closes", c.Lasting)
	}
	fmt.Fprintln(env.Stdout, ".")
	if len(c.Removals) == 0 {
		fmt.Fprintln(env.Stderr, "No binding and no known setting closes any, as far as was read.")
		return nil
	}
	fmt.Fprintln(env.Stdout)
	r := view.Of(env)
	t := terminal.Table{Columns: cutColumns}
	for n := range c.Removals {
		m := &c.Removals[n]
		var actors []string
		for _, a := range m.Actors {
			actors = append(actors, string(a))
		}
		who := strings.Join(actors, ", ")
		if more := m.Losers - len(m.Actors); more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		if m.Closes == 0 {
			who = "with those that follow"
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: fmt.Sprint(m.Closes), Style: terminal.Bold}, {Text: fmt.Sprint(m.Left)}, {Text: printable.Text(m.Patch)},
			{Text: printable.Text(removedAt(m))}, {Text: printable.Text(m.Role)}, {Text: printable.Text(who)},
		})
	}
	if of == ofHosts {
		t.Columns = slices.Delete(slices.Clone(t.Columns), roleAt, roleAt+1)
		for n := range t.Rows {
			t.Rows[n] = slices.Delete(t.Rows[n], roleAt, roleAt+1)
		}
	}
	return t.Write(env.Stdout, r.Width, r.Palette)
}

// removedAt says where a removal is to be made: a binding's file, a host and its file.
func removedAt(m *exposure.Removal) string {
	return strings.TrimSuffix(strings.TrimPrefix(m.Host+" "+m.Origin.String(), " "), " ")
}
