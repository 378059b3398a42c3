package exposure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// containerActor names a container of a pod as an actor: whoever runs in it already.
func containerActor(p *inventory.Pod, c *inventory.Container) Actor {
	return Actor("container:" + p.Namespace + "/" + p.Name + "/" + c.Name)
}

// Siblings lists the containers of a pod from which whoever runs in them gets into
// another one of it, because they share a process namespace. Rights are for whole
// pods: who may exec in a sibling may do so in the container itself.
func (a *Analysis) Siblings(p *inventory.Pod, container string) (out []Exposure) {
	i := slices.IndexFunc(p.Containers, func(c inventory.Container) bool { return c.Name == container })
	if i < 0 {
		return nil
	}
	to := targetOf(p)
	to.Container = container
	for n := range p.Containers {
		h, ok := sibling(p, n, i)
		if !ok {
			continue
		}
		who := containerActor(p, &p.Containers[n])
		out = append(out, Exposure{Actor: who, Target: to, Scope: "object", Via: []Step{
			{Edge: h.Edge, From: string(who), To: "container " + container, Setting: h.Setting, Unless: h.Unless},
		}})
	}
	return out
}

// sibling says how whoever runs in one container of a pod gets into another: its
// processes are there to be traced, and its files below /proc. It takes the same user, or
// the capability to trace anybody's.
func sibling(p *inventory.Pod, from, to int) (Hop, bool) {
	f, t := &p.Containers[from], &p.Containers[to]
	if from == to || !p.SharedPID || f.Role == ended || t.Role == ended {
		return Hop{}, false
	}
	h := Hop{Edge: EdgeSibling, Setting: "the containers of the pod share a process namespace"}
	traces := f.Privileged || slices.ContainsFunc(f.AddCapabilities, func(c string) bool { return isCapability("SYS_PTRACE")(c) || isCapability("ALL")(c) })
	switch becomes := mayBecome(f, t); {
	case traces && isRoot(f):
	case traces && f.User == nil && f.NonRoot != inventory.Yes:
		h.Unless = "container " + f.Name + " runs as another user than root, whom only its image knows"
	case becomes == inventory.No:
		return Hop{}, false
	case becomes == inventory.Unknown:
		h.Unless = fmt.Sprintf("containers %s and %s run as different users, which only their images know", f.Name, t.Name)
	default:
		h.Unless = "the node lets only parents trace their processes (Yama), or container " + t.Name + " has capabilities that " + f.Name + " has not"
	}
	return h, true
}

// ended is the role of containers of which none runs when others do.
const ended = "init"

func isRoot(c *inventory.Container) bool { return c.User != nil && *c.User == 0 }

// mayBecome says whether a process of one container has, or can take, the user of
// another's.
func mayBecome(from, to *inventory.Container) inventory.Answer {
	switch {
	case isRoot(from) && (!from.DropAll || slices.ContainsFunc(from.AddCapabilities, isCapability("SETUID"))):
		return inventory.Yes
	case from.User == nil || to.User == nil:
		return inventory.Unknown
	}
	return inventory.AnswerOf(*from.User == *to.User)
}

// container adds the place of a container that is named as actor to an analysis: it has
// what its own settings give, and its siblings.
func (a *Analysis) container(at place) bool {
	pod, name := at.name[:strings.LastIndex(at.name, "/")], at.name[strings.LastIndex(at.name, "/")+1:]
	i := a.pod(at.namespace, pod)
	if i < 0 {
		return false
	}
	p := &a.cluster.Pods[i]
	from := slices.IndexFunc(p.Containers, func(c inventory.Container) bool { return c.Name == name })
	if from < 0 {
		return false
	}
	n := a.at(at)
	a.gives(n, i, p.Containers[from:from+1])
	for to := range p.Containers {
		if h, ok := sibling(p, from, to); ok {
			a.link(n, a.podAt[i], a.hop(h))
		}
	}
	return true
}

// Sharing is a pod whose containers are not kept apart; of several of one workload, the
// first.
type Sharing struct {
	Pod *inventory.Pod
	Why string // which of them gets into which
}

// Shared lists the pods in which whoever runs in one container gets into another, one
// for each workload.
func (a *Analysis) Shared() (out []Sharing) {
	seen := map[string]bool{}
	for i := range a.cluster.Pods {
		p := &a.cluster.Pods[i]
		why := shares(p)
		if why == "" {
			continue
		}
		if k := p.Namespace + "/" + cmp.Or(p.Workload, "/"+p.Name); !seen[k] {
			seen[k] = true
			out = append(out, Sharing{p, why})
		}
	}
	return out
}

// shares says between which containers of a pod somebody gets; "" when there are none.
func shares(p *inventory.Pod) string {
	for from := range p.Containers {
		for to := range p.Containers {
			if h, ok := sibling(p, from, to); ok {
				return Doubted("container "+p.Containers[from].Name+" can get into container "+p.Containers[to].Name, h.Unless)
			}
		}
	}
	return ""
}
