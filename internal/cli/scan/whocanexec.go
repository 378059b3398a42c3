package scan

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/nearest"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/gain"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// whoCanExec is one question.
type whoCanExec struct {
	sources
	pod, container string
	asJSON, all    bool
}

func newWhoCanExec(env *terminal.Env) *cobra.Command {
	var q whoCanExec
	cmd := &cobra.Command{
		Use:   "who-can-exec POD|CONTAINER",
		Short: "List who can get a command run in a pod or container, and by what",
		Long: `List every actor that can get a command run in a pod: directly, through each
channel, or by way of somebody else or a node, by a shortest path. Of manifests a
pod has the name of its workload. "sallyport channels" explains the channels.

What a command gets in each container is said, too: as whom it runs, with which
rights, and with which tools where --images says what the image holds.

With --from host it is asked about a container of the Docker engine, by its name
or id, where the cluster has no such pod.

Rights are for whole pods. With -c the containers are listed, too, from which
whoever runs in them gets into that one: they share a process namespace.

Who owes it only to what every new cluster has, such as Kubernetes' own
controllers, is counted and not listed, unless --all is given. A default that was
changed is none. With --json all are listed.

` + sourcesHelp,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport scan who-can-exec -n shop web-0
  sallyport scan who-can-exec --from prod.scan -n shop web-0 -c app --json | jq -r .actor
  helm template shop | sallyport scan who-can-exec --from - -n shop web
  sudo sallyport scan who-can-exec --from host --images host my-container`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return podNames(cmd.Context(), env, &q, args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q.pod = args[0]
			return runWhoCanExec(cmd.Context(), env, &q)
		},
	}
	q.flags(cmd)
	q.imageFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&q.namespace, "namespace", "n", "default", "the pod's `NAMESPACE`, and that of manifests' objects that name none")
	f.StringVarP(&q.container, "container", "c", "", "the container `NAME` of the pod")
	f.BoolVar(&q.all, "all", false, "list those, too, who owe it to what every new cluster has")
	f.BoolVar(&q.asJSON, "json", false, "print one JSON object per actor and channel")
	return cmd
}

func runWhoCanExec(ctx context.Context, env *terminal.Env, q *whoCanExec) error {
	i, err := gather(ctx, env, &q.sources)
	if err != nil {
		return err
	}
	p := env.Progress(thinking)
	all, gets, err := q.answer(i)
	p.Done()
	if err != nil {
		return err
	}
	if q.asJSON {
		lines := make([]exposureLine, len(all))
		for n := range all {
			lines[n] = exposureLine{all[n], gets}
		}
		err = terminal.WriteLines(env.Stdout, lines)
	} else if err = exposures(env, all, q.all); err == nil {
		err = gains(env, gets)
	}
	return cmp.Or(err, q.covered(i))
}

// exposureLine is a line of the answer in JSON.
type exposureLine struct {
	exposure.Exposure
	// Gets is what a command gets in each container of the target.
	Gets []gain.Container `json:"gets"`
}

// answer lists who can, in the pod or else the container of a host that is asked about,
// and what a command gets there.
func (q *whoCanExec) answer(i *inventory.Inventory) ([]exposure.Exposure, []gain.Container, error) {
	if i.Cluster == nil && len(i.Hosts) == 0 {
		return nil, nil, exit.Fail(exit.Usage, "--from cluster", "who-can-exec: %w", errNoCluster)
	}
	if !q.isPod(i.Cluster) {
		for n := range i.Hosts {
			a := hostaccess.New(&i.Hosts[n])
			if c := a.Find(q.pod); c != nil {
				return a.WhoCanExec(c), []gain.Container{gain.OfEngine(&i.Hosts[n], c)}, nil
			}
		}
	}
	if i.Cluster == nil {
		return nil, nil, q.noContainer(i)
	}
	a := analyse(i)
	pod, err := q.find(a, i)
	if err != nil {
		return nil, nil, err
	}
	all := append(a.WhoCanExec(pod), a.Siblings(pod, q.container)...)
	exposure.Sort(all)
	for n := range all {
		all[n].Target.Container = q.container
	}
	gets := gain.OfPod(i.Cluster, pod)
	if q.container != "" {
		gets = slices.DeleteFunc(gets, func(c gain.Container) bool { return c.Container != q.container })
	}
	return all, gets, nil
}

// isPod reports whether there is such a pod.
func (q *whoCanExec) isPod(c *inventory.Cluster) bool {
	for n := 0; c != nil && n < len(c.Pods); n++ {
		if p := &c.Pods[n]; p.Namespace == q.namespace && p.Name == q.pod {
			return true
		}
	}
	return false
}

// noContainer says that no host runs the container, and which there are.
func (q *whoCanExec) noContainer(i *inventory.Inventory) error {
	var names []string
	for n := range i.Hosts {
		for _, c := range i.Hosts[n].Running {
			names = append(names, c.Name)
		}
	}
	hint := "one of " + strings.Join(names[:min(len(names), containersNamed)], ", ")
	switch {
	case len(names) == 0 && i.Is(inventory.PartContainers):
		hint = "as root: the containers could not be listed"
	case len(names) == 0:
		hint = "docker ps: no container runs"
	}
	return exit.Fail(exit.Usage, printable.Text(hint), "no container %s runs, or several ids begin so", printable.Text(q.pod))
}

// containersNamed is how many containers are named where another was asked for.
const containersNamed = 10

// find returns the pod that is asked about, and says where else to look when it is
// not there.
func (q *whoCanExec) find(a *exposure.Analysis, i *inventory.Inventory) (*inventory.Pod, error) {
	pod, err := podOf("who-can-exec", a, i, q.namespace, q.pod)
	if err != nil || q.container == "" {
		return pod, err
	}
	var names []string
	for n := range pod.Containers {
		names = append(names, pod.Containers[n].Name)
	}
	if !slices.Contains(names, q.container) {
		return nil, exit.Fail(exit.Usage, "-c "+printable.Text(strings.Join(names, ", or -c ")), "who-can-exec: pod %s has no container %s", printable.Text(q.pod), printable.Text(q.container))
	}
	return pod, nil
}

// podOf finds a pod for a command, which is named in its error.
func podOf(command string, a *exposure.Analysis, i *inventory.Inventory, namespace, name string) (*inventory.Pod, error) {
	if pod := a.Pod(namespace, name); pod != nil {
		return pod, nil
	}
	hint := ""
	if i.Is(inventory.PartPods) {
		hint = "the right to list pods: none could be read"
	}
	var beside []string
	for n := range i.Cluster.Pods {
		p := &i.Cluster.Pods[n]
		if p.Name == name {
			hint = "-n " + printable.Command([]string{p.Namespace})
		}
		if p.Namespace == namespace {
			beside = append(beside, p.Name)
		}
	}
	if near := nearest.Name(name, beside); near != "" && hint == "" {
		hint = printable.Command([]string{near})
	}
	return nil, exit.Fail(exit.Usage, hint, "%s: there is no pod %s in namespace %s", command, printable.Text(name), printable.Text(namespace))
}

// completionMax is how long a person waits for the shell to complete a name.
const completionMax = 3 * time.Second

// podNames lists the pods of the namespace, for a shell to complete.
func podNames(ctx context.Context, env *terminal.Env, q *whoCanExec, args []string) (out []string) {
	if len(args) > 0 {
		return nil
	}
	i := glance(ctx, env, q.sources)
	if i == nil {
		return nil
	}
	for n := range i.Hosts {
		for _, c := range i.Hosts[n].Running {
			out = append(out, c.Name)
		}
	}
	if i.Cluster == nil {
		return out
	}
	for n := range i.Cluster.Pods {
		if p := &i.Cluster.Pods[n]; p.Namespace == q.namespace {
			out = append(out, p.Name)
		}
	}
	return out
}

// glance reads what there is for a shell to complete, and says nothing; nil when
// nothing can be read.
func glance(ctx context.Context, env *terminal.Env, s sources) *inventory.Inventory {
	ctx, cancel := context.WithTimeout(ctx, completionMax)
	defer cancel()
	quiet := *env
	quiet.Stderr = io.Discard
	s.from = slices.Compact(slices.Sorted(slices.Values(s.from))) // cobra has parsed the flags twice
	i, err := gather(ctx, &quiet, &s)
	if err != nil {
		return nil
	}
	return i
}

var exposureColumns = []terminal.Column{
	{Title: "ACTOR", Least: 16},
	{Title: "CHANNEL"},
	{Title: "SCOPE", Drop: 1},
	{Title: "BY", Least: 20},
}

// channels writes the channels of one way.
func channels(list []string) string { return strings.Join(list, ", ") }

// exposures prints who can, one to a line.
func exposures(env *terminal.Env, list []exposure.Exposure, all bool) error {
	shown := list
	if !all {
		shown = slices.DeleteFunc(slices.Clone(list), func(e exposure.Exposure) bool { return e.ByDefault() })
	}
	if n := len(list) - len(shown); n > 0 {
		defer fmt.Fprintf(env.Stderr, "%d more by what every new cluster has: --all lists them.\n", n)
	}
	if len(shown) == 0 {
		fmt.Fprintln(env.Stderr, "Nobody, as far as was read.")
		return nil
	}
	r := view.Of(env)
	t := terminal.Table{Columns: exposureColumns}
	for _, way := range exposure.Ways(shown) {
		e := way.Of
		style := terminal.Warn
		if e.Direct {
			style = terminal.Bold
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: printable.Text(string(e.Actor)), Style: style}, {Text: channels(way.Channels)}, {Text: e.Scope}, {Text: printable.Text(exposure.PathText(e.Via))},
		})
	}
	return t.Write(env.Stdout, r.Width, r.Palette)
}
