package exposure

import (
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/podmakers"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// maker is a kind whose controller makes pods, with the questions whether one may be
// created and changed.
type maker struct {
	podmakers.Kind
	make, remake rbac.Mask
}

var ownMakers, otherMakers = makersOf(podmakers.Own), makersOf(podmakers.Others)

func makersOf(kinds []podmakers.Kind) (out []maker) {
	for _, k := range kinds {
		out = append(out, maker{k, ask(k.Group, k.Resource, "", "create"), ask(k.Group, k.Resource, "", "patch", "update")})
	}
	return out
}

// makersIn lists the kinds that a cluster has.
func makersIn(c *inventory.Cluster) []maker {
	out := slices.Clone(ownMakers)
	for _, m := range otherMakers {
		if slices.Contains(c.PodMakers, m.Name()) {
			out = append(out, m)
		}
	}
	return out
}

// starting is the questions of which one is enough to start a pod of any form.
func starting(makers []maker) rbac.Mask {
	m := mayCreatePod
	for _, k := range makers {
		if k.Gives == podmakers.Pods {
			m = m.Or(k.make)
		}
	}
	return m
}

// making lists where permissions lead by making or changing pods and what makes them.
// What is created has no name yet.
func (a *Analysis) making(m rbac.Mask, namespace string, names []string) (out []step) {
	if names == nil && m.Any(mayCreatePod) {
		out = append(out, step{to: a.at(place{kind: atNew, namespace: namespace}), edge: EdgeCreate})
	}
	for i := range a.makers {
		k := &a.makers[i]
		if names == nil && m.Any(k.make) {
			out = append(out, step{to: a.fresh(k, namespace), edge: EdgeCreate})
		}
		if m.Any(k.remake) {
			for _, t := range a.theWorkloads(namespace, k.Kind.Kind, names) {
				out = append(out, step{to: t, edge: EdgeChange})
			}
			out = append(out, step{to: a.fresh(k, namespace), edge: EdgeCreate})
		}
	}
	return out
}

// fresh returns the place of a new pod by way of a kind, and makes it where it is not
// that of any new pod.
func (a *Analysis) fresh(k *maker, namespace string) int32 {
	at := place{kind: atNew, namespace: namespace}
	switch k.Gives {
	case podmakers.Pods:
	case podmakers.Tokens:
		at.name = "by " + k.Name() + ", which bounds its form"
	case podmakers.Applied:
		at.name = "by " + k.Name() + ", which " + k.Account + " applies"
	}
	if n, ok := a.number[at]; ok {
		return n
	}
	n, accounts := a.at(at), a.at(place{kind: atAccounts, namespace: namespace})
	switch k.Gives {
	case podmakers.Pods:
	case podmakers.Tokens:
		a.link(n, accounts, a.hop(Hop{Edge: edgeToken, Setting: "it may use any service account of its namespace"}))
	case podmakers.Applied:
		h := a.hop(Hop{Edge: EdgeCreate, Setting: "what it says is applied by the right of " + k.Account + ", or of a service account of its namespace",
			Unless: "the controller is told to apply less, or as somebody else"})
		a.link(n, accounts, h)
		for _, in := range a.named.accounts[k.Account] {
			a.link(n, a.account(in, k.Account), h)
		}
	}
	return n
}
