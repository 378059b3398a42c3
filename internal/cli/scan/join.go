package scan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// analyse works out who can get in where in a cluster, by way of the hosts that are its
// nodes, too; nil without a cluster.
func analyse(i *inventory.Inventory) *exposure.Analysis {
	if i.Cluster == nil {
		return nil
	}
	nodes, _ := split(i)
	var entries []exposure.Entry
	for _, n := range nodes {
		entries = append(entries, hostaccess.New(n.host).Entries(n.name, n.how)...)
	}
	return exposure.New(i.Cluster, entries...)
}

// hostNode is a host that is a node of the cluster, and by what that is known.
type hostNode struct {
	host      *inventory.Host
	name, how string
}

type hostNodes []hostNode

// split tells the hosts that are nodes of the cluster from the others.
func split(i *inventory.Inventory) (nodes hostNodes, others []*inventory.Host) {
	for n := range i.Hosts {
		h := &i.Hosts[n]
		name, how := "", ""
		if i.Cluster != nil {
			name, how = nodeOf(h, i.Cluster)
		}
		if name == "" {
			others = append(others, h)
			continue
		}
		nodes = append(nodes, hostNode{h, name, how})
	}
	return nodes, others
}

// closable lists who is root on the nodes after some changes, and what closes that.
func (list hostNodes) closable(changed []exposure.Closer) (out []exposure.Entry) {
	for _, n := range list {
		out = append(out, hostaccess.New(n.host).Closable(n.name, n.how, changed)...)
	}
	return out
}

// nodeOf says which node of a cluster a host is, and by what that is known: by what its
// kubelet calls itself or, where that says nothing, by its name. "" is unknown.
func nodeOf(h *inventory.Host, c *inventory.Cluster) (node, how string) {
	is := func(name string) bool {
		return name != "" && (slices.ContainsFunc(c.Nodes, func(n inventory.Node) bool { return n.Name == name }) ||
			slices.ContainsFunc(c.Pods, func(p inventory.Pod) bool { return p.Node == name }))
	}
	if h.Kubelet != nil && h.Kubelet.Node != "" {
		if is(h.Kubelet.Node) {
			return h.Kubelet.Node, " by its kubelet"
		}
		return "", ""
	}
	if is(h.Name) {
		return h.Name, " by its name"
	}
	return "", ""
}

// hostExposures lists what an actor reaches on the hosts. anyone and anonymous are those of
// a cluster where there is one.
func hostExposures(i *inventory.Inventory, actor exposure.Actor) (out []exposure.Exposure) {
	if i.Cluster != nil && (actor == exposure.Anyone || actor == exposure.Anonymous) {
		return nil
	}
	for n := range i.Hosts {
		out = append(out, hostaccess.New(&i.Hosts[n]).Exposures(actor)...)
	}
	return out
}

// hostPath lists the ways of an actor into a container of a host's engine; false when no
// host has one of that name, or the cluster has a pod.
func hostPath(i *inventory.Inventory, namespace string, actor exposure.Actor, target string) (out []exposure.Exposure, ok bool) {
	q := whoCanExec{sources: sources{namespace: namespace}, pod: target}
	if q.isPod(i.Cluster) {
		return nil, false
	}
	for n := range i.Hosts {
		a := hostaccess.New(&i.Hosts[n])
		c := a.Find(target)
		if c == nil {
			continue
		}
		ok = true
		for _, e := range a.Exposures(actor) {
			if e.Target.ID == c.ID {
				out = append(out, e)
			}
		}
	}
	return out, ok
}

// knownOnHost is an error about somebody of whom no host tells.
func knownOnHost(i *inventory.Inventory, command string, actor exposure.Actor) error {
	for n := range i.Hosts {
		if hostaccess.New(&i.Hosts[n]).Knows(actor) {
			return nil
		}
	}
	if len(i.Hosts) == 0 {
		return exit.Fail(exit.Usage, "--from cluster", "%s: %w", command, errNoCluster)
	}
	return exit.Fail(exit.Usage, "unix:NAME, container:NAME, anyone or anonymous, of a host; --from cluster for others", "%s: no host tells of %s", command, printable.Text(string(actor)))
}

func reachHosts(env *terminal.Env, i *inventory.Inventory, s *sources, actor exposure.Actor, list []exposure.Exposure, asJSON bool) error {
	if err := knownOnHost(i, "reach", actor); err != nil && len(list) == 0 { // else he has what everybody there has
		return err
	}
	var err error
	if asJSON {
		err = terminal.WriteLines(env.Stdout, list)
	} else {
		err = containersReached(env, i, actor, list)
	}
	return cmp.Or(err, s.covered(i))
}

var hostReachColumns = []terminal.Column{{Title: "HOST", Least: 8}, {Title: "CHANNEL"}, {Title: "BY", Least: 20}}

// containersReached prints what an actor reaches on hosts: all containers of an engine by
// each way.
func containersReached(env *terminal.Env, i *inventory.Inventory, actor exposure.Actor, list []exposure.Exposure) error {
	of := 0
	for n := range i.Hosts {
		of += len(i.Hosts[n].Running)
	}
	type way struct{ host, channel string }
	containers, ways := map[string]bool{}, map[way]bool{}
	t := terminal.Table{Columns: hostReachColumns}
	for n := range list {
		e := &list[n]
		containers[e.Target.Host+" "+e.Target.ID] = true
		if k := (way{e.Target.Host, string(e.Channel)}); !ways[k] {
			ways[k] = true
			t.Rows = append(t.Rows, []terminal.Cell{{Text: printable.Text(e.Target.Host), Style: terminal.Bold}, {Text: string(e.Channel)}, {Text: printable.Text(exposure.PathText(e.Via))}})
		}
	}
	fmt.Fprintf(env.Stdout, "%s can get a command into %d of %s of Docker engines.\n", printable.Text(string(actor)), len(containers), wording.Plural(of, "container"))
	if len(t.Rows) == 0 {
		return nil
	}
	fmt.Fprintln(env.Stdout)
	r := view.Of(env)
	return t.Write(env.Stdout, r.Width, r.Palette)
}

func pathOnHost(env *terminal.Env, i *inventory.Inventory, s *sources, actor exposure.Actor, target string, list []exposure.Exposure, asJSON bool) error {
	if err := knownOnHost(i, "path", actor); err != nil && len(list) == 0 {
		return err
	}
	if _, ok := hostPath(i, s.namespace, actor, target); !ok {
		q := whoCanExec{pod: target}
		return q.noContainer(i)
	}
	var err error
	if asJSON {
		err = terminal.WriteLines(env.Stdout, list)
	}
	for n := 0; n < len(list) && !asJSON; n++ {
		steps(env, &list[n])
	}
	if len(list) == 0 {
		fmt.Fprintln(env.Stderr, "No way, as far as was read.")
	}
	return cmp.Or(err, s.covered(i))
}
