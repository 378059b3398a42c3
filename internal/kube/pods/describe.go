package pods

import (
	"fmt"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/podspec"
)

// describe takes from a pod what concerns commands. What many pods have in
// common is kept once.
func (s *sharer) describe(now time.Time, p *corev1.Pod) event.KubePod {
	o := event.KubePod{
		Header: header(now), Namespace: shared(p.Namespace), Name: p.Name, UID: string(p.UID), NodeName: shared(p.Spec.NodeName),
		ServiceAccount: shared(p.Spec.ServiceAccountName), Static: podspec.Static(p.Annotations), Containers: podspec.Containers(&p.Spec),
	}
	podspec.Identify(o.Containers, &p.Status)
	for i := range o.Containers {
		s.container(&o.Containers[i])
	}
	for _, ip := range p.Status.PodIPs {
		o.Addresses = append(o.Addresses, ip.IP)
	}
	if len(o.Addresses) == 0 && p.Status.PodIP != "" {
		o.Addresses = []string{p.Status.PodIP}
	}
	for i := range p.OwnerReferences {
		if r := &p.OwnerReferences[i]; r.Controller != nil && *r.Controller {
			o.Owner = shared(r.Kind + "/" + r.Name)
		}
	}
	if t := p.Status.StartTime; t != nil {
		o.Started = t.UTC()
	}
	return o
}

func shared(s string) string { return unique.Make(s).Value() }

// shapesMax bounds the values of one kind that a sharer remembers. Beyond it all are
// forgotten: those to come share among themselves.
const shapesMax = 8192

// sharer keeps once what the containers of a workload have in common: nobody
// changes an observation, so many pods may hold one list.
type sharer struct {
	argvs  map[string][]string
	hooks  map[string][]event.KubeHook
	access map[string]*event.HostAccess
}

func newSharer() *sharer {
	return &sharer{argvs: map[string][]string{}, hooks: map[string][]event.KubeHook{}, access: map[string]*event.HostAccess{}}
}

func (s *sharer) container(c *event.KubeContainer) {
	c.Name, c.Image, c.Target = shared(c.Name), shared(c.Image), shared(c.Target)
	c.Command, c.Args = s.argv(c.Command), s.argv(c.Args)
	for i := range c.Hooks {
		c.Hooks[i].Argv = s.argv(c.Hooks[i].Argv)
	}
	if len(c.Hooks) > 0 {
		c.Hooks = once(s.hooks, fmt.Sprintf("%#v", c.Hooks), c.Hooks)
	}
	for i := range c.Variables {
		c.Variables[i].Name, c.Variables[i].Value = shared(c.Variables[i].Name), shared(c.Variables[i].Value)
	}
	if c.HostAccess != nil {
		c.HostAccess = once(s.access, fmt.Sprintf("%#v", *c.HostAccess), c.HostAccess)
	}
}

func (s *sharer) argv(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return once(s.argvs, fmt.Sprintf("%q", list), list)
}

// once returns the value first seen under a key.
func once[T any](known map[string]T, key string, value T) T {
	if old, ok := known[key]; ok {
		return old
	}
	if len(known) >= shapesMax {
		clear(known)
	}
	known[key] = value
	return value
}
