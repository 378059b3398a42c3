package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

// actorHelp says how actors are written.
const actorHelp = `An ACTOR is user:NAME, group:NAME, serviceaccount:NAMESPACE/NAME, node:NAME,
container:NAMESPACE/POD/CONTAINER (whoever runs in it), unix:NAME (a user of a host
that was read), anonymous (nobody has to say who he is) or anyone (whoever the API
server knows).
In which groups a user is only whoever signs him in knows: ask for the groups.`

// completeActor completes an actor as the first argument.
func completeActor(env *terminal.Env, s *sources) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if i := glance(cmd.Context(), env, *s); i != nil && i.Cluster != nil {
			for _, a := range analyse(i).Actors() {
				out = append(out, string(a))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func newReach(env *terminal.Env) *cobra.Command {
	var s sources
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reach ACTOR",
		Short: "Say everything that an actor can get a command into",
		Long: `Say into which pods an actor can get a command, by his own grants and those of the
groups that he is surely in, and by way of others: tokens, impersonation, nodes. With
--from host it is said of unix:NAME and container:NAME, too, which containers of the
Docker engine.

` + actorHelp + `

` + sourcesHelp,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport scan reach group:devs
  sallyport scan reach --from prod.scan serviceaccount:shop/web --json | jq -r .target.pod
  helm template shop | sallyport scan reach --from - anyone`,
		ValidArgsFunction: completeActor(env, &s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return reach(cmd.Context(), env, &s, exposure.Actor(args[0]), asJSON)
		},
	}
	s.flags(cmd)
	s.namespaceFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per pod and channel")
	return cmd
}

// namespaceFlag is -n of commands that name no pod.
func (s *sources) namespaceFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.namespace, "namespace", "n", "", "namespace of manifests' objects that name none (default \"default\")")
}

func reach(ctx context.Context, env *terminal.Env, s *sources, actor exposure.Actor, asJSON bool) error {
	i, err := gather(ctx, env, s)
	if err != nil {
		return err
	}
	onHosts := hostExposures(i, actor)
	if i.Cluster == nil {
		return reachHosts(env, i, s, actor, onHosts, asJSON)
	}
	p := env.Progress(thinking)
	a := analyse(i)
	r, err := a.Reach(actor)
	var list []exposure.Exposure
	if err == nil {
		list, err = a.Exposures(actor)
	}
	p.Done()
	if errors.Is(err, exposure.ErrNobody) && len(onHosts) > 0 {
		return reachHosts(env, i, s, actor, onHosts, asJSON)
	}
	if err != nil {
		return noActor("reach", err)
	}
	unknownActor(env, i, a, actor)
	if asJSON {
		err = terminal.WriteLines(env.Stdout, append(list, onHosts...))
	} else if err = reached(env, i, &r, list); err == nil && len(onHosts) > 0 {
		fmt.Fprintln(env.Stdout)
		err = containersReached(env, i, actor, onHosts)
	}
	return cmp.Or(err, s.covered(i))
}

// noActor makes an error of one about an actor.
func noActor(command string, err error) error {
	hint := "the names that completion offers: sallyport completion -h"
	return exit.Fail(exit.Usage, hint, "%s: %w", command, err)
}

// unknownActor says when somebody is known only by the groups that he is surely in.
func unknownActor(env *terminal.Env, i *inventory.Inventory, a *exposure.Analysis, actor exposure.Actor) {
	if a.Knows(actor) {
		return
	}
	binding := "No binding"
	if unread(i, inventory.PartRoleBindings, inventory.PartClusterBindings) {
		binding = "No binding that could be read"
	}
	fmt.Fprintf(env.Stderr, "%s names %s: what follows is what everybody like him may do.\n", binding, printable.Text(string(actor)))
}

// unread reports whether one of some parts was not read.
func unread(i *inventory.Inventory, parts ...inventory.Part) bool {
	return slices.ContainsFunc(i.Unread, func(u inventory.Unread) bool { return slices.Contains(parts, u.What) })
}

var reachColumns = []terminal.Column{
	{Title: "NAMESPACE", Least: 10},
	{Title: "PODS"},
	{Title: "CHANNEL"},
	{Title: "SCOPE", Drop: 1},
	{Title: "BY", Least: 20},
}

// reached prints what an actor reaches, one line for each namespace and way.
func reached(env *terminal.Env, i *inventory.Inventory, r *exposure.Reach, list []exposure.Exposure) error {
	what := fmt.Sprintf("%d of %s in %s", r.Pods, wording.Plural(r.Of, "pod"), wording.Plural(len(r.Namespaces), "namespace"))
	if r.Everything {
		what += ", and may do everything else: cluster administrator"
	}
	if unread(i, inventory.PartRoles, inventory.PartClusterRoles, inventory.PartRoleBindings, inventory.PartClusterBindings, inventory.PartPods) {
		what += ", as far as was read"
	}
	fmt.Fprintf(env.Stdout, "%s can get a command into %s.\n", printable.Text(string(r.Actor)), what)
	of := map[string]int{}
	for _, n := range r.Namespaces {
		of[n.Namespace] = n.Of
	}
	rend := view.Of(env)
	t := terminal.Table{Columns: reachColumns}
	for _, way := range byWay(list) {
		e := way[0].Of
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: printable.Text(e.Target.Namespace), Style: terminal.Bold}, {Text: fmt.Sprintf("%d of %d", len(way), of[e.Target.Namespace])},
			{Text: channels(way[0].Channels)}, {Text: e.Scope}, {Text: printable.Text(exposure.PathText(e.Via))},
		})
	}
	if len(t.Rows) > 0 {
		fmt.Fprintln(env.Stdout)
		if err := t.Write(env.Stdout, rend.Width, rend.Palette); err != nil {
			return err
		}
	}
	beyondPods(env.Stdout, r)
	return nil
}

// byWay puts exposures of a namespace together that have the same channels and path.
func byWay(list []exposure.Exposure) (out [][]exposure.Joined[exposure.Exposure]) {
	type key struct{ namespace, channel, scope, by string }
	at := map[key]int{}
	words := map[*exposure.Step]string{} // by where a path begins: pods share theirs
	for _, way := range exposure.Ways(list) {
		e := way.Of
		by, ok := words[&e.Via[0]]
		if !ok {
			by = printable.Text(exposure.PathText(e.Via))
			words[&e.Via[0]] = by
		}
		k := key{e.Target.Namespace, channels(way.Channels), e.Scope, by}
		if _, ok := at[k]; !ok {
			at[k] = len(out)
			out = append(out, nil)
		}
		out[at[k]] = append(out[at[k]], way)
	}
	return out
}

// beyondPods prints what an actor reaches besides.
func beyondPods(w io.Writer, r *exposure.Reach) {
	var actors []string
	for _, a := range r.Identities {
		actors = append(actors, string(a))
	}
	for _, l := range []struct {
		what string
		list []string
	}{{"Root on", r.Nodes}, {"Can act as", actors}, {"Can start pods in", r.NewPods}} {
		if len(l.list) > 0 {
			fmt.Fprintf(w, "\n%-18s %s\n", l.what, printable.Text(wording.Some(l.list)))
		}
	}
}

func newPath(env *terminal.Env) *cobra.Command {
	var s sources
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "path ACTOR POD|CONTAINER",
		Short: "Show the shortest ways of an actor into a pod, step by step",
		Long: `Show how an actor can get a command run in a pod: every channel that is open to
him, or else a shortest path by way of others. Of each step it names the binding
and the rule, with file and line where they come from files. POD is a pod of the
namespace of -n, or NAMESPACE/POD. With --from host it may be a container of the Docker
engine.

` + actorHelp + `

` + sourcesHelp,
		Args: cobra.ExactArgs(2),
		Example: `  sallyport scan path group:devs shop/web-0
  sallyport scan path --from prod.scan -n shop anyone web-0 --json`,
		ValidArgsFunction: completeActor(env, &s),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pathTo(cmd.Context(), env, &s, exposure.Actor(args[0]), args[1], asJSON)
		},
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&s.namespace, "namespace", "n", "default", "the pod's `NAMESPACE`, and that of manifests' objects that name none")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per channel")
	return cmd
}

func pathTo(ctx context.Context, env *terminal.Env, s *sources, actor exposure.Actor, target string, asJSON bool) error {
	i, err := gather(ctx, env, s)
	if err != nil {
		return err
	}
	if list, ok := hostPath(i, s.namespace, actor, target); ok || i.Cluster == nil {
		return pathOnHost(env, i, s, actor, target, list, asJSON)
	}
	a := analyse(i)
	pod, err := targetPod(a, i, s.namespace, target)
	if err != nil {
		return err
	}
	list, err := a.Paths(actor, pod)
	if err != nil {
		return noActor("path", err)
	}
	unknownActor(env, i, a, actor)
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

// targetPod finds the pod that is named by its name in a namespace, or with its own.
func targetPod(a *exposure.Analysis, i *inventory.Inventory, namespace, target string) (*inventory.Pod, error) {
	if pod := a.Pod(namespace, target); pod != nil { // that of a manifest may be "cronjob/web"
		return pod, nil
	}
	if in, name, ok := strings.Cut(target, "/"); ok {
		namespace, target = in, name
	}
	return podOf("path", a, i, namespace, target)
}

// steps prints an exposure, a step to a paragraph.
func steps(env *terminal.Env, e *exposure.Exposure) {
	p := env.Palette()
	head := fmt.Sprintf("%s -> pod %s/%s", e.Actor, e.Target.Namespace, e.Target.Pod)
	if e.Target.Pod == "" {
		head = fmt.Sprintf("%s -> container %s on %s", e.Actor, e.Target.Container, e.Target.Host)
	}
	if e.Channel != "" {
		head += " through " + string(e.Channel)
	}
	fmt.Fprintf(env.Stdout, "%s, %s\n", p.Paint(terminal.Bold, printable.Text(head)), wording.Plural(len(e.Via), "step"))
	stepLines(env, e.Via)
}

// stepLines prints the steps of a path.
func stepLines(env *terminal.Env, via []exposure.Step) {
	for n := range via {
		s := &via[n]
		fmt.Fprintf(env.Stdout, "  %d  %s: %s -> %s\n", n+1, s.Name(), printable.Text(s.From), printable.Text(s.To))
		for _, g := range s.Grants {
			fmt.Fprintf(env.Stdout, "       %s\n", printable.Text(g.Text()))
		}
		if s.Setting != "" {
			fmt.Fprintf(env.Stdout, "       %s\n", printable.Text(s.Setting))
		}
		if s.Unless != "" {
			fmt.Fprintf(env.Stdout, "       unless %s\n", printable.Text(s.Unless))
		}
	}
}
