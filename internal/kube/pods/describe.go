package pods

import (
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/podspec"
)

// describe takes from a pod what concerns commands. What many pods have in
// common is kept once.
func describe(now time.Time, p *corev1.Pod) event.KubePod {
	o := event.KubePod{
		Header: header(now), Namespace: shared(p.Namespace), Name: p.Name, UID: string(p.UID), NodeName: shared(p.Spec.NodeName),
		ServiceAccount: shared(p.Spec.ServiceAccountName), Static: podspec.Static(p.Annotations), Containers: podspec.Containers(&p.Spec),
	}
	podspec.Identify(o.Containers, &p.Status)
	for i := range o.Containers {
		share(&o.Containers[i])
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

// share keeps once what the containers of a workload have in common.
func share(c *event.KubeContainer) {
	c.Name, c.Image, c.Target = shared(c.Name), shared(c.Image), shared(c.Target)
	shareAll(c.Command)
	shareAll(c.Args)
	for i := range c.Hooks {
		shareAll(c.Hooks[i].Argv)
	}
}

func shareAll(list []string) {
	for i := range list {
		list[i] = shared(list[i])
	}
}

func shared(s string) string { return unique.Make(s).Value() }
