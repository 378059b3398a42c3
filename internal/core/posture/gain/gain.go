// Package gain tells what somebody gets who runs a command in a container: as whom, with
// which rights, on what, and with which tools.
//
// What the inventory does not know is unknown, and a value of its own: a container whose
// image was not looked into is none without a shell. The package is pure.
package gain

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostaccess"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Power is how much a command can do, in a word.
type Power string

// The powers, the greatest first.
const (
	PowerHost    Power = "host" // root on the host or node
	PowerRoot    Power = "root" // root in the container
	PowerUser    Power = "user" // another user in the container
	PowerUnknown Power = "unknown"
)

// Tools is what there is to run, in a word.
type Tools string

// The tools.
const (
	ToolsShell    Tools = "shell"
	ToolsPrograms Tools = "programs" // no shell, but programs that do what they are told: interpreters, downloaders, ...
	ToolsNone     Tools = "none"     // none that is known by its name
	ToolsUnknown  Tools = "unknown"  // the image was not looked into
)

// Base is which capabilities a command has before those that were added.
type Base string

// The bases.
const (
	BaseAll     Base = "all"
	BaseDefault Base = "default" // what the runtime gives to root
	BaseNone    Base = "none"
	BaseUnknown Base = "unknown"
)

// Gain is what somebody gets who runs a command in a container.
type Gain struct {
	Power Power `json:"power"`
	// How says how a command becomes root on the host, where Power is host.
	How   string `json:"how,omitempty"`
	Tools Tools  `json:"tools"`
	// User is the command's, by its number; absent when nobody could tell. HostUser says
	// that the number means the same on the host: that there is no user namespace.
	User     *int64           `json:"user,omitempty"`
	HostUser inventory.Answer `json:"host_user"`
	// Chooses says that the asker may name any user, and have all capabilities for the
	// asking: docker exec --user 0 --privileged.
	Chooses      bool     `json:"chooses,omitempty"`
	Privileged   bool     `json:"privileged,omitempty"`
	Capabilities Base     `json:"capabilities"`
	Added        []string `json:"added_capabilities,omitempty"`
	Dropped      []string `json:"dropped_capabilities,omitempty"` // of the default ones
	// NoNewPrivs says that setuid programs give nothing.
	NoNewPrivs inventory.Answer `json:"no_new_privileges"`
	Seccomp    string           `json:"seccomp,omitempty"` // absent when nobody could tell
	// WritableRoot says that the root file system takes new files.
	WritableRoot inventory.Answer `json:"writable_root"`
	// Token says that Account's token for the API server is in the container.
	Token      inventory.Answer  `json:"token"`
	Account    string            `json:"account,omitempty"`         // "namespace/name"
	Namespaces []string          `json:"host_namespaces,omitempty"` // of the host: pid, ipc, network
	Inside     *inventory.Inside `json:"inside,omitempty"`          // absent when the image was not looked into
}

// InPod tells it of a container of a pod, or of what would be one. kubelet is that of its
// node, nil when its settings are not known. Commands come by the kubelet, which gives
// them the container's own user.
func InPod(namespace string, t *inventory.Template, c *inventory.Container, kubelet *inventory.Kubelet) Gain {
	g := of(c)
	g.HostUser, g.Token = t.HostUsers, t.Token
	if t.Token != inventory.No {
		g.Account = namespace + "/" + t.ServiceAccount
	}
	g.Namespaces = shared(t.HostPID, t.HostIPC, t.HostNetwork)
	if g.Seccomp == "" && kubelet != nil {
		switch kubelet.SeccompDefault {
		case inventory.Yes:
			g.Seccomp = "RuntimeDefault"
		case inventory.No:
			g.Seccomp = unconfined
		case inventory.Unknown:
		}
	}
	g.weigh(exposure.Doubted(exposure.EscapeOfPod(t, c)))
	if g.Power == PowerUnknown && c.NonRoot == inventory.Yes { // the kubelet starts no other
		g.Power, g.Capabilities, g.Added = PowerUser, BaseNone, nil
	}
	return g
}

// InEngine tells it of a container of a host's engine.
func InEngine(h *inventory.Host, c *inventory.DockerOrCRI) Gain {
	g := of(&c.Container)
	g.HostUser, g.Token = c.HostUsers, inventory.No
	g.Chooses = c.Engine == inventory.ServiceDocker
	g.Namespaces = shared(c.HostPID, c.HostIPC, c.HostNetwork)
	how := hostaccess.Escape(c)
	if sockets := hostaccess.Sockets(h, c); how == "" && len(sockets) > 0 {
		how = sockets[0].String()
	}
	g.weigh(how)
	return g
}

// unconfined is how Docker calls that there is no seccomp profile.
const unconfined = "unconfined"

// of tells what is the container's own.
func of(c *inventory.Container) Gain {
	g := Gain{
		Tools: tools(c.Inside), User: c.RunsAs(), Privileged: c.Privileged, Seccomp: c.Seccomp,
		WritableRoot: inventory.AnswerOf(!c.ReadOnlyRoot), NoNewPrivs: not(c.Escalation), Inside: c.Inside,
	}
	if g.Privileged {
		g.Seccomp, g.NoNewPrivs = unconfined, inventory.No
	}
	g.capabilities(c)
	return g
}

// capabilities are those of a command: only root has what the container was given.
func (g *Gain) capabilities(c *inventory.Container) {
	every := c.Privileged || slices.ContainsFunc(c.AddCapabilities, func(n string) bool { return strings.EqualFold(strings.TrimPrefix(n, "CAP_"), "ALL") })
	switch {
	case g.User != nil && *g.User != 0, c.DropAll && len(c.AddCapabilities) == 0 && !every:
		g.Capabilities = BaseNone
		return
	case g.User == nil:
		g.Capabilities = BaseUnknown
		return
	case every:
		g.Capabilities = BaseAll
		return
	case c.DropAll:
		g.Capabilities = BaseNone
	default:
		g.Capabilities, g.Dropped = BaseDefault, c.DropCapabilities
	}
	g.Added = c.AddCapabilities
}

// weigh finds the word for what a command can do, when how says how it becomes root on
// the host.
func (g *Gain) weigh(how string) {
	switch {
	case how != "":
		g.Power, g.How = PowerHost, how
	case g.User == nil:
		g.Power = PowerUnknown
	case *g.User == 0:
		g.Power = PowerRoot
	default:
		g.Power = PowerUser
	}
}

func tools(in *inventory.Inside) Tools {
	switch {
	case in == nil:
		return ToolsUnknown
	case len(in.Shells) > 0:
		return ToolsShell
	case len(in.Packages)+len(in.Interpreters)+len(in.Downloaders)+len(in.Compilers)+len(in.Clients) > 0:
		return ToolsPrograms
	}
	return ToolsNone
}

func shared(pid, ipc, network bool) (out []string) {
	for _, ns := range []struct {
		name string
		host bool
	}{{"pid", pid}, {"ipc", ipc}, {"network", network}} {
		if ns.host {
			out = append(out, ns.name)
		}
	}
	return out
}

func not(a inventory.Answer) inventory.Answer {
	switch a {
	case inventory.Yes:
		return inventory.No
	case inventory.No:
		return inventory.Yes
	case inventory.Unknown:
	}
	return inventory.Unknown
}

// MayRise reports whether setuid programs and those with capabilities give a command more
// than it has, as far as is known.
func (g *Gain) MayRise() bool {
	isRoot := g.User != nil && *g.User == 0 && g.Capabilities != BaseNone
	return g.NoNewPrivs != inventory.Yes && !isRoot
}

// Unknown lists what of it nobody could tell, by the names of the fields.
func (g *Gain) Unknown() (out []string) {
	for _, f := range []struct {
		name    string
		unknown bool
	}{
		{"user", g.User == nil}, {"capabilities", g.Capabilities == BaseUnknown}, {"no_new_privileges", g.NoNewPrivs == inventory.Unknown},
		{"seccomp", g.Seccomp == ""}, {"token", g.Token == inventory.Unknown}, {"inside", g.Inside == nil},
	} {
		if f.unknown {
			out = append(out, f.name)
		}
	}
	return out
}

// Container is a container with what it gives.
type Container struct {
	// Subject is what it belongs to, as in findings: "pod shop/Deployment/web",
	// "host:h/container/web".
	Subject   string           `json:"subject"`
	Container string           `json:"container"`
	Image     string           `json:"image,omitempty"`
	Pods      int              `json:"pods,omitempty"` // how many of a workload's are the same
	At        inventory.Origin `json:"at,omitzero"`
	Gain
}

// OfEngine is a container of a host's engine with what it gives.
func OfEngine(h *inventory.Host, c *inventory.DockerOrCRI) Container {
	return Container{Subject: "host:" + h.Name + "/container/" + c.Name, Container: c.Name, Image: c.Image, Gain: InEngine(h, c)}
}

// OfPod lists the containers of a pod with what they give.
func OfPod(c *inventory.Cluster, p *inventory.Pod) []Container { return ofPod(kubelets(c), p) }

func ofPod(kubelets map[string]*inventory.Kubelet, p *inventory.Pod) (out []Container) {
	for n := range p.Containers {
		c := &p.Containers[n]
		out = append(out, Container{
			Subject: "pod " + p.Namespace + "/" + cmp.Or(p.Workload, p.Name), Container: c.Name, Image: c.Image, Pods: 1, At: p.Origin,
			Gain: InPod(p.Namespace, &p.Template, c, kubelets[p.Node]),
		})
	}
	return out
}

// All lists every container of an inventory with what it gives. Pods of one workload that
// give the same are one.
func All(i *inventory.Inventory) (out []Container) {
	for n := range i.Hosts {
		for k := range i.Hosts[n].Running {
			out = append(out, OfEngine(&i.Hosts[n], &i.Hosts[n].Running[k]))
		}
	}
	if i.Cluster == nil {
		return out
	}
	kubelets := kubelets(i.Cluster)
	seen := map[[2]string][]int{}
	for n := range i.Cluster.Pods {
		for _, c := range ofPod(kubelets, &i.Cluster.Pods[n]) {
			key := [2]string{c.Subject, c.Container}
			if at := slices.IndexFunc(seen[key], func(m int) bool { return same(&out[m], &c) }); at >= 0 {
				out[seen[key][at]].Pods++
				continue
			}
			seen[key] = append(seen[key], len(out))
			out = append(out, c)
		}
	}
	return out
}

// kubelets are the kubelets of a cluster's nodes, by the nodes' names.
func kubelets(c *inventory.Cluster) map[string]*inventory.Kubelet {
	out := map[string]*inventory.Kubelet{}
	for n := range c.Nodes {
		out[c.Nodes[n].Name] = c.Nodes[n].Kubelet
	}
	return out
}

// same reports whether two containers give the same.
func same(a, b *Container) bool {
	x, y := *a, *b
	x.Pods, y.Pods, x.At, y.At = 0, 0, inventory.Origin{}, inventory.Origin{}
	return reflect.DeepEqual(x, y)
}
