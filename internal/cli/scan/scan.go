// Package scan is sallyport scan: who could run a command in which container, and what
// closes that.
package scan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/objects"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/internal/scan/report"
)

// New returns the commands that tell who could run a command.
func New(env *terminal.Env) *cobra.Command {
	cmd := newScanReport(env)
	cmd.AddCommand(newCollect(env), newWhoCanExec(env), newReach(env), newPath(env), newCut(env), newUsed(env), newDiff(env), newScanRules(env), newScanExplain(env), newScanRole(env))
	return cmd
}

// The sources of a scan that are no files.
const (
	fromCluster = "cluster"
	fromHost    = "host"
	fromStdin   = "-"
)

// sources are what a scan looks at, as all of its commands take them.
type sources struct {
	from        []string
	kubeVersion string
	kubeconfig  string
	context     string
	namespace   string // of manifests' objects that name none
	images      []string
	complete    bool
}

func (s *sources) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&s.from, "from", nil, "look at `SOURCE`: cluster, host, a snapshot, manifests in a file or directory, or - for standard input; may be repeated (default cluster where there is a kubeconfig, else host)")
	s.kubeFlags(f)
	f.BoolVar(&s.complete, "require-coverage", false, "exit with 3 when something could not be read or understood")
	_ = cmd.RegisterFlagCompletionFunc("from", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{fromCluster, fromHost}, cobra.ShellCompDirectiveDefault // files, too
	})
}

func (s *sources) kubeFlags(f *pflag.FlagSet) {
	f.StringVar(&s.kubeVersion, "kube-version", "", "manifests are for Kubernetes `VERSION` (default: the newest that is known)")
	f.StringVar(&s.kubeconfig, "kubeconfig", "", "ask the cluster of the kubeconfig `FILE` (default: as kubectl)")
	f.StringVar(&s.context, "context", "", "ask the cluster of the kubeconfig's context `NAME`")
}

// sourcesHelp says in every command's help what can be looked at.
const sourcesHelp = `Without --from it is the cluster that kubectl would ask or, where there is neither
a kubeconfig nor a pod's credentials, this host. A cluster is asked as kubectl would ask it, for lists alone: sallyport scan role
prints all rights that this takes. Manifests are YAML or JSON, as kubectl, helm
template and kustomize build print them; what they say is taken for what would
run. With a cluster or a snapshot before them they show what it would be with
them. Of a host its users, sudo rules, runtime sockets and Docker engine are
read, best as root. What could not be read is said on standard error, and is never taken for
something that is not there.`

// gather reads all that a scan looks at, and says on standard error what it
// could not.
func gather(ctx context.Context, env *terminal.Env, s *sources) (*inventory.Inventory, error) {
	opts := objects.Options{Namespace: s.namespace}
	if s.kubeVersion != "" {
		v, err := objects.ParseVersion(s.kubeVersion)
		if err != nil {
			return nil, exit.Fail(exit.Usage, "", "--kube-version: %w", err)
		}
		opts.Version = v
	}
	p := env.Progress("Reading")
	defer p.Done()
	opts.Progress = p.Reading
	g := gatherer{env: env, sources: s, loader: objects.New(opts)}
	for _, name := range sourcesOf(env, s) {
		p.Say("Reading " + cmp.Or(map[string]string{fromStdin: "standard input"}[name], name))
		if err := g.read(ctx, name); err != nil {
			return nil, err
		}
	}
	i := g.finish()
	if err := g.lookInside(ctx, i, p.Reading); err != nil {
		return nil, err
	}
	p.Done()
	coverage(env, i)
	return i, nil
}

// sourcesOf lists what to look at. Where nobody says it is the cluster that kubectl would
// ask or, where there is none, this host.
func sourcesOf(env *terminal.Env, s *sources) []string {
	switch {
	case len(s.from) > 0:
		return s.from
	case s.kubeconfig != "" || s.context != "" || api.Configured():
		return []string{fromCluster}
	}
	fmt.Fprintln(env.Stderr, "No kubeconfig here, and no credentials of a pod: looking at this host (--from host).")
	return []string{fromHost}
}

// gatherer reads one source after the other.
type gatherer struct {
	env     *terminal.Env
	sources *sources
	loader  *objects.Loader
	out     inventory.Inventory
	docker  string // the address of the daemon that was asked, if any was
}

func (g *gatherer) finish() *inventory.Inventory {
	cluster, unread, skipped := g.loader.Finish()
	g.out.Cluster = cluster
	g.out.Hosts = append(g.out.Hosts, g.loader.Hosts()...)
	kubeletsOfNodes(&g.out)
	if serverOfNode(&g.out) {
		unread = slices.DeleteFunc(unread, func(u inventory.Unread) bool { return u.What == inventory.PartAPIServer && u.Why == objects.Untold })
	}
	g.out.Unread = append(g.out.Unread, unread...)
	g.out.Skipped = append(g.out.Skipped, skipped...)
	if g.out.Time.IsZero() {
		g.out.Time = time.Now().UTC().Truncate(time.Second)
	}
	return &g.out
}

// kubeletsOfNodes gives the nodes of a cluster the kubelets of the hosts that were
// read and that go by their names.
func kubeletsOfNodes(i *inventory.Inventory) {
	if i.Cluster == nil {
		return
	}
	for n := range i.Cluster.Nodes {
		for h := range i.Hosts {
			if k := i.Hosts[h].Kubelet; k != nil && k.Node != "" && k.Node == i.Cluster.Nodes[n].Name {
				i.Cluster.Nodes[n].Kubelet = k
			}
		}
	}
}

// serverOfNode gives a cluster what a host that is one of its nodes tells of the API
// server that runs there: all, or what the cluster does not tell. It reports whether there
// is such a host.
func serverOfNode(i *inventory.Inventory) bool {
	if i.Cluster == nil {
		return false
	}
	for n := range i.Hosts {
		h := &i.Hosts[n]
		if h.APIServer == nil || h.Kubelet == nil || !slices.ContainsFunc(i.Cluster.Nodes, func(n inventory.Node) bool { return n.Name != "" && n.Name == h.Kubelet.Node }) {
			continue
		}
		c := i.Cluster.APIServer
		if c == nil {
			i.Cluster.APIServer = h.APIServer
			return true
		}
		if len(c.Authorization) == 0 {
			c.Authorization = h.APIServer.Authorization
		}
		if c.Anonymous == inventory.Unknown {
			c.Anonymous, c.AnonymousPaths = h.APIServer.Anonymous, h.APIServer.AnonymousPaths
		}
		if c.Profiling == inventory.Unknown { // its flags were not read
			c.Admission, c.AdmissionOff = h.APIServer.Admission, h.APIServer.AdmissionOff
		}
		c.PodSecurity = cmp.Or(c.PodSecurity, h.APIServer.PodSecurity)
		c.AuditPolicy = cmp.Or(c.AuditPolicy, h.APIServer.AuditPolicy)
		return true
	}
	return false
}

// coverageMax is how many things that were skipped are named one by one.
const coverageMax = 20

// coverage says what was assumed, and what was not looked at.
func coverage(env *terminal.Env, i *inventory.Inventory) {
	if c := i.Cluster; c != nil && c.Assumed {
		fmt.Fprintf(env.Stderr, "Taken for Kubernetes %d.%d: name another with --kube-version.\n", c.Version.Major, c.Version.Minor)
	}
	for _, u := range i.Unread {
		fmt.Fprintf(env.Stderr, "Not read: %s of %s: %s\n", u.What, printable.Text(u.From), printable.Text(u.Why))
	}
	var help []string
	for _, u := range i.Unread {
		if u.Help != "" && !slices.Contains(help, u.Help) {
			help = append(help, u.Help)
			fmt.Fprintln(env.Stderr, "Try: "+printable.Text(u.Help))
		}
	}
	for n, s := range i.Skipped {
		if n == coverageMax {
			fmt.Fprintf(env.Stderr, "Skipped: %d more\n", len(i.Skipped)-n)
			break
		}
		fmt.Fprintf(env.Stderr, "Skipped: %s: %s\n", printable.Text(s.Origin.String()), printable.Text(s.Why))
	}
}

// analysis reads what a scan of a cluster looks at, for a command, which is named in
// its error, and works out who can get in where.
func analysis(ctx context.Context, env *terminal.Env, command string, s *sources) (*inventory.Inventory, *exposure.Analysis, error) {
	i, err := gather(ctx, env, s)
	if err != nil {
		return nil, nil, err
	}
	if i.Cluster == nil {
		return nil, nil, exit.Fail(exit.Usage, "--from cluster", "%s: %w", command, errNoCluster)
	}
	defer env.Progress(thinking).Done()
	return i, analyse(i), nil
}

// covered is the exit status of a scan that has done what it could.
func (s *sources) covered(i *inventory.Inventory) error {
	if s.complete && len(i.Unread)+len(i.Skipped) > 0 {
		return exit.Status(exit.Incomplete)
	}
	return nil
}

func newCollect(env *terminal.Env) *cobra.Command {
	var s sources
	var file string
	var redact bool
	cmd := &cobra.Command{
		Use:   "collect -o FILE",
		Short: "Keep what a scan looks at in a file, for --from",
		Long: `Write a snapshot: a scan of it, with --from, gives what the scan of its sources
would have given. It holds no secrets, but who may do what and where.

With --redact it holds no images, uids of pods and expressions of admission
policies either; names of people, pods and namespaces stay, for they are what is
asked for.

` + sourcesHelp,
		Args: cobra.NoArgs,
		Example: `  sallyport scan collect -o prod.scan
  sallyport scan collect --from deploy/ --redact -o review.scan
  sallyport scan who-can-exec --from prod.scan -n shop web-0`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return exit.Fail(exit.Usage, "sallyport scan collect -o FILE", "collect: no file is named")
			}
			i, err := gather(cmd.Context(), env, &s)
			if err != nil {
				return err
			}
			if err := collect(env, i, file, redact); err != nil {
				return err
			}
			return s.covered(i)
		},
	}
	s.flags(cmd)
	s.imageFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&file, "output", "o", "", "write to `FILE`, - for standard output")
	f.StringVarP(&s.namespace, "namespace", "n", "", "namespace of manifests' objects that name none (default \"default\")")
	f.BoolVar(&redact, "redact", false, "leave out images, uids of pods and expressions of admission policies")
	return cmd
}

func collect(env *terminal.Env, i *inventory.Inventory, file string, redact bool) error {
	var redacted []string
	if redact {
		redacted = scan.Redact(i)
	}
	if file == "-" {
		return scan.Write(env.Stdout, i, build.This().Version, redacted)
	}
	var b bytes.Buffer // whole before it is written: a scan is small
	if err := scan.Write(&b, i, build.This().Version, redacted); err != nil {
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		return exit.Fail(exit.Usage, "another name with -o", "collect: %w", err)
	}
	fmt.Fprintf(env.Stderr, "Wrote %s: %s. Look at it with: sallyport scan who-can-exec --from %[1]s POD\n", printable.Command([]string{file}), report.Contents(i))
	return nil
}

func newScanRole(env *terminal.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "role",
		Short: "Print the ClusterRole with all that a scan asks of the API server: lists, and no secrets",
		Args:  cobra.NoArgs,
		Example: `  sallyport scan role | kubectl apply -f -
  kubectl create clusterrolebinding sallyport-scan --clusterrole sallyport-scan --user jane`,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(env.Stdout, objects.Role)
			return err
		},
	}
}

// errNoCluster says that there is no cluster to look at.
var errNoCluster = errors.New("there is no cluster in what was read")

// thinking is what is told while an analysis is made.
const thinking = "Working out who gets in where"
