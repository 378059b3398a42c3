// Package objects turns Kubernetes objects into what scan looks at
// (core/posture/inventory): from an API server, or from manifests in YAML or JSON.
// Both ways go through the same Kubernetes types, so that an object means the
// same wherever it was read.
//
// Of secrets it keeps the metadata of those that hold a service account's token,
// and asks a server for no more. What cannot be read is noted as unread, what is not
// understood as skipped; neither ever looks like something that is not there.
//
// # Manifests
//
// A manifest says what would run. Each workload of which the input has no pods
// adds one planned pod, named like the workload. An object that comes twice counts
// as it came last, as it would when all were applied in order. Bindings often refer
// to roles that every cluster has and no manifest holds: those of a new cluster
// (defaults.json) are added where the input has no role of that name.
package objects

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Newest is the newest version of Kubernetes that the analysis knows.
var Newest = inventory.Version{Major: 1, Minor: 37}

// Options tune a Loader; the zero value is good.
type Options struct {
	// Namespace is that of objects in manifests that name none; "" is "default".
	Namespace string
	// Version is for which server manifests are; zero is Newest, which the
	// inventory then says was assumed.
	Version inventory.Version
	// Progress hears now and then what is being read and how much of it there is
	// so far; nil is silent.
	Progress func(what string, n int)
}

// Loader gathers objects from any number of places. It is not safe for concurrent
// use.
type Loader struct {
	opts    Options
	cluster inventory.Cluster
	unread  []inventory.Unread
	skipped []inventory.Skipped
	// whole says that a server or a snapshot told of a whole cluster, files that
	// manifests were read.
	whole, files bool
	objects      int // of manifests, of any kind
	documents    int // of manifests, in which something is said, be it broken

	plan           map[string]*inventory.PodSecurity // by workloadKey: those of manifests, and what their pods are against
	aggregates     []aggregate
	policyBindings []policyBinding
	settings       found
	shared         map[string]string
	controls       map[string][]string // the same list for pods that are the same
}

// New returns a loader that holds nothing.
func New(o Options) *Loader {
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Progress == nil {
		o.Progress = func(string, int) {}
	}
	return &Loader{opts: o, plan: map[string]*inventory.PodSecurity{}, shared: map[string]string{}, controls: map[string][]string{}}
}

// Documents returns how many documents of manifests were read so far, broken ones
// too, but none in which nothing is said.
func (l *Loader) Documents() int { return l.documents }

// share returns a string equal to s, the same one for all: a cluster has few names
// and repeats them much.
func (l *Loader) share(s string) string {
	if s == "" {
		return ""
	}
	if known, ok := l.shared[s]; ok {
		return known
	}
	l.shared[s] = s
	return s
}

func (l *Loader) shareAll(list []string) []string {
	for i := range list {
		list[i] = l.share(list[i])
	}
	return list
}

// errTwice says that two whole clusters were to be read as one.
var errTwice = fmt.Errorf("more than one cluster: scan them one at a time")

// Include adds a cluster that was read before, as of a snapshot, and keeps its lists
// for itself. Manifests that are read besides show what it would be with them.
func (l *Loader) Include(c *inventory.Cluster) error {
	if c.Partial { // its manifests, and what was made up for them, count as read
		l.files = true
		l.objects++
	} else if l.whole {
		return errTwice
	} else {
		l.whole = true
	}
	to := &l.cluster
	if to.Version == (inventory.Version{}) || !c.Partial {
		to.Version, to.Assumed, to.Gates, to.APIServer = c.Version, c.Assumed, c.Gates, c.APIServer
	}
	to.PodMakers = union(to.PodMakers, c.PodMakers)
	to.AWSAuth = cmp.Or(c.AWSAuth, to.AWSAuth)
	to.Namespaces = join(to.Namespaces, c.Namespaces)
	to.ServiceAccounts = join(to.ServiceAccounts, c.ServiceAccounts)
	to.Roles = join(to.Roles, c.Roles)
	to.Bindings = join(to.Bindings, c.Bindings)
	to.Pods = join(to.Pods, c.Pods)
	to.Workloads = join(to.Workloads, c.Workloads)
	to.Nodes = join(to.Nodes, c.Nodes)
	to.TokenSecrets = join(to.TokenSecrets, c.TokenSecrets)
	to.Webhooks = join(to.Webhooks, c.Webhooks)
	to.Policies = join(to.Policies, c.Policies)
	return nil
}

// join appends a list to another, and copies neither when one is empty.
func join[T any](list, more []T) []T {
	if len(list) == 0 {
		return more
	}
	return append(list, more...)
}

// Finish puts together what was gathered: the cluster, nil when nothing was read at
// all, and what was left unread or skipped. The loader is of no use afterwards.
func (l *Loader) Finish() (*inventory.Cluster, []inventory.Unread, []inventory.Skipped) {
	l.apiServer()
	if !l.whole && (!l.files || l.objects == 0 && len(l.settings.hosts) > 0) { // files of hosts alone are no cluster
		return nil, l.unread, l.skipped
	}
	c := &l.cluster
	c.Partial = !l.whole
	if v := l.opts.Version; v != (inventory.Version{}) {
		c.Version, c.Assumed = v, false
	} else if c.Version == (inventory.Version{}) {
		c.Version, c.Assumed = Newest, true
	}
	if l.files {
		l.lastWins()
		if c.Partial {
			l.addDefaults()
		}
	}
	l.resolveAggregates()
	l.resolveOwners()
	if l.files {
		l.planPods()
	}
	l.markDefaults()
	l.resolveTokens()
	l.bindPolicies()
	return c, l.unread, l.skipped
}

// lastWins drops objects that come again later.
func (l *Loader) lastWins() {
	c := &l.cluster
	c.Namespaces = last(l, "namespace", c.Namespaces, func(o *inventory.Namespace) (*inventory.Object, string) { return &o.Object, "" })
	c.ServiceAccounts = last(l, "service account", c.ServiceAccounts, func(o *inventory.ServiceAccount) (*inventory.Object, string) { return &o.Object, "" })
	c.Roles = last(l, "role", c.Roles, func(o *inventory.Role) (*inventory.Object, string) { return &o.Object, "" })
	c.Bindings = last(l, "binding", c.Bindings, func(o *inventory.Binding) (*inventory.Object, string) { return &o.Object, "" })
	c.Pods = last(l, "pod", c.Pods, func(o *inventory.Pod) (*inventory.Object, string) { return &o.Object, planned(o) })
	c.Workloads = last(l, "workload", c.Workloads, func(o *inventory.Workload) (*inventory.Object, string) { return &o.Object, o.Kind + "." + o.Group })
	c.Nodes = last(l, "node", c.Nodes, func(o *inventory.Node) (*inventory.Object, string) { return &o.Object, "" })
	c.TokenSecrets = last(l, "secret", c.TokenSecrets, func(o *inventory.TokenSecret) (*inventory.Object, string) { return &o.Object, "" })
	c.Webhooks = last(l, "webhook", c.Webhooks, func(o *inventory.Webhook) (*inventory.Object, string) { return &o.Object, o.Hook })
	c.Policies = last(l, "policy", c.Policies, func(o *inventory.Policy) (*inventory.Object, string) { return &o.Object, fmt.Sprint(o.Mutating) })
}

// planned keeps a planned pod apart from a pod, and from that of a workload of
// another kind, that has its name.
func planned(p *inventory.Pod) string {
	if p.Planned {
		return p.Workload
	}
	return ""
}

// last keeps of objects with the same name and mark the last one, in the first
// one's place.
func last[T any](l *Loader, kind string, list []T, name func(*T) (*inventory.Object, string)) []T {
	type key struct{ namespace, name, mark string }
	at := make(map[key]int, len(list))
	out := list[:0]
	for i := range list {
		o, mark := name(&list[i])
		k := key{o.Namespace, o.Name, mark}
		n, again := at[k]
		if !again {
			at[k] = len(out)
			out = append(out, list[i])
			continue
		}
		old, _ := name(&out[n])
		if old.Origin != o.Origin { // two webhooks of a configuration share theirs
			l.skip(old.Origin, "%s %s is defined again at %s; the later one counts", kind, o.Name, where(o.Origin))
		}
		out[n] = list[i]
	}
	return out
}

func where(o inventory.Origin) string {
	if o.Line == 0 {
		return o.Source
	}
	return fmt.Sprintf("%s:%d", o.Source, o.Line)
}

// whyMax bounds a reason: some hold what they complain about.
const whyMax = 500

func (l *Loader) skip(o inventory.Origin, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if len(why) > whyMax {
		why = strings.ToValidUTF8(why[:whyMax], "") + "…"
	}
	l.skipped = append(l.skipped, inventory.Skipped{Origin: o, Why: why})
}

func workloadKey(w *inventory.Workload) string { return w.Namespace + "/" + w.Kind + "/" + w.Name }

// chainMax bounds how many controllers stand above each other; real chains have
// two, as CronJob and Job.
const chainMax = 8

// resolveOwners follows each pod's controller up to the outermost.
func (l *Loader) resolveOwners() {
	owners := make(map[string]string)
	for i := range l.cluster.Workloads {
		if w := &l.cluster.Workloads[i]; w.Owner != "" {
			owners[workloadKey(w)] = w.Owner
		}
	}
	for i := range l.cluster.Pods {
		p := &l.cluster.Pods[i]
		for range chainMax {
			owner, ok := owners[p.Namespace+"/"+p.Workload]
			if !ok {
				break
			}
			p.Workload = owner
		}
	}
}

// planPods adds a pod for each workload of manifests that has none. It has the
// workload's name or, when another has it already, "kind/name" as kubectl writes it.
func (l *Loader) planPods() {
	c := &l.cluster
	have, named := make(map[string]bool), make(map[inventory.Object]bool)
	for i := range c.Pods {
		p := &c.Pods[i]
		have[p.Namespace+"/"+p.Workload] = true
		named[inventory.Object{Namespace: p.Namespace, Name: p.Name}] = true
	}
	for i := range c.Workloads {
		w := &c.Workloads[i]
		if k := workloadKey(w); w.Owner == "" && l.plan[k] != nil && !have[k] {
			o := w.Object
			if named[inventory.Object{Namespace: o.Namespace, Name: o.Name}] {
				o.Name = strings.ToLower(w.Kind) + "/" + o.Name
			}
			named[inventory.Object{Namespace: o.Namespace, Name: o.Name}] = true
			p := inventory.Pod{Object: o, Workload: w.Kind + "/" + w.Name, Planned: true, Template: w.Template}
			p.Security = l.plan[k]
			c.Pods = append(c.Pods, p)
		}
	}
}

// resolveTokens asks the service accounts where a pod's specification does not say
// whether its token is mounted. An account that is not there might say anything.
func (l *Loader) resolveTokens() {
	c := &l.cluster
	type key struct{ namespace, name string }
	accounts := make(map[key]inventory.Answer, len(c.ServiceAccounts))
	for i := range c.ServiceAccounts {
		a := &c.ServiceAccounts[i]
		accounts[key{a.Namespace, a.Name}] = inventory.AnswerOf(a.Automount != inventory.No)
	}
	for i := range c.Pods {
		if p := &c.Pods[i]; p.Token == inventory.Unknown {
			p.Token = accounts[key{p.Namespace, p.ServiceAccount}]
		}
	}
	for i := range c.Workloads {
		if w := &c.Workloads[i]; w.Token == inventory.Unknown {
			w.Token = accounts[key{w.Namespace, w.ServiceAccount}]
		}
	}
}

// bindPolicies tells the policies what their bindings make of them.
func (l *Loader) bindPolicies() {
	type key struct {
		mutating bool
		name     string
	}
	at := make(map[key]*inventory.Policy)
	for i := range l.cluster.Policies {
		p := &l.cluster.Policies[i]
		at[key{p.Mutating, p.Name}] = p
	}
	for _, b := range l.policyBindings {
		if p := at[key{b.mutating, b.policy}]; p != nil {
			p.Bound = true
			p.Actions = union(p.Actions, b.actions)
		}
	}
}

// union appends those of more that list does not have.
func union(list, more []string) []string {
	for _, s := range more {
		found := false
		for _, have := range list {
			found = found || have == s
		}
		if !found {
			list = append(list, s)
		}
	}
	return list
}
