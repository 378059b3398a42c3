package exposure

import (
	"cmp"
	"slices"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// Levers of the control plane (X15): what forbids pods, and who may do everything, is
// kept in objects that somebody may change.
var (
	mayMakeNamespace = ask(coreGroup, "namespaces", "", "create")
	mayLabel         = ask(coreGroup, "namespaces", "", "patch", "update")
	mayVolume        = ask(coreGroup, "persistentvolumes", "", "create")
	mayClaim         = ask(coreGroup, "persistentvolumeclaims", "", "create")
	mayMap           = ask(coreGroup, "configmaps", "", "patch", "update")
	mayMakeMap       = ask(coreGroup, "configmaps", "", "create")
	mayServeAPI      = ask(apiRegistration, "apiservices", "", "create", "patch", "update")
	mayBlind         = func() (m rbac.Mask) {
		for _, r := range guards {
			m = m.Or(ask(admission, r, "", "patch", "update", "delete"))
		}
		return m
	}()
)

// guards are the kinds by which pods and commands are refused.
var guards = []string{"validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings"}

const apiRegistration = "apiregistration.k8s.io"

// How a new pod gets past its namespace's Pod Security level: the name of its place.
const (
	relabelled   = "without its Pod Security level"
	ownNamespace = "in a namespace of its own"
	byVolume     = "with a volume of the node's files"
)

// settles links a subject with new pods in a namespace that it makes, which has the Pod
// Security level that it gives it. Where another one lets everything in there is no need to.
func (a *Analysis) settles(who int32, has *held) {
	everywhere := has.in("")
	if make, pod := everywhere.one(mayMakeNamespace, unnamed), everywhere.one(a.starts, unnamed); make >= 0 && pod >= 0 && !a.admitting {
		n := a.at(place{kind: atNew, name: ownNamespace})
		a.link(who, n, a.by(EdgeControl, make, pod))
		a.link(n, a.at(place{kind: atNode}), a.hop(Hop{Edge: EdgeEscape, Unless: either(a.refusing...),
			Setting: "a namespace has the Pod Security level that whoever makes it gives it"}))
	}
}

// control links a subject with new pods that it gets past the Pod Security level of their
// namespace. Where that lets everything in, or he owns all, there is nothing to get past; who
// owns a namespace is still kept by its level.
func (a *Analysis) control(who int32, has *held, owned []string) {
	label, volume := has.may.Any(mayLabel), has.may.Any(mayVolume) && has.may.Any(mayClaim)
	if !label && !volume || !has.may.Any(a.starts) || slices.Contains(owned, "") {
		return
	}
	starts, labels, claims := has.only(a.starts), has.only(mayLabel), has.only(mayClaim)
	for _, in := range a.keeping {
		pod := starts.in(in).one(a.starts, unnamed)
		if pod < 0 {
			continue
		}
		if n := labels.in(in).one(mayLabel, about(in)); n >= 0 {
			a.link(who, a.at(place{kind: atNew, namespace: in, name: relabelled}), a.by(EdgeControl, n, pod))
		}
		if claim := claims.in(in).one(mayClaim, unnamed); volume && claim >= 0 {
			if n := has.one(mayVolume, unnamed); n >= 0 {
				a.link(who, a.at(place{kind: atNew, namespace: in, name: byVolume}), a.by(EdgeControl, n, claim, pod))
			}
		}
	}
}

// past makes the places of pods that get past the level of a namespace that keeps them
// from breaking out.
func (a *Analysis) past(in string) {
	a.keeping = append(a.keeping, in)
	level, _ := a.podSecurity(in)
	volume := Hop{Edge: EdgeEscape, Setting: "a PersistentVolume may be any path of the node: the Pod Security level " + level + " looks at pods alone"}
	if level == "restricted" {
		volume.Unless = "no file there is writable for another user than root"
	}
	label := Hop{Edge: EdgeEscape, Setting: "namespace " + in + " admits privileged pods once its label is gone"}
	for name, h := range sorted(map[string]Hop{relabelled: label, byVolume: volume}) {
		h.Unless = either(append([]string{h.Unless}, a.refusing...)...)
		n := a.at(place{kind: atNew, namespace: in, name: name})
		a.link(n, a.at(place{kind: atNode}), a.hop(h))
	}
}

// mapped reports whether rules limited to names, of a namespace or of all, let a
// cluster of EKS be told who its administrators are: its ConfigMap aws-auth says that,
// where there is one or it would be looked for.
func (a *Analysis) mapped(m rbac.Mask, namespace string, names []string) bool {
	if namespace != "" && namespace != "kube-system" || !m.Any(mayMap.Or(mayMakeMap)) {
		return false
	}
	asked := inventory.Unknown
	if a.cluster.APIServer != nil {
		asked = a.cluster.APIServer.ConfigMapAuth
	}
	if asked == inventory.No || asked == inventory.Unknown && a.cluster.AWSAuth != inventory.Yes {
		return false
	}
	return m.Any(mayMap) && (names == nil || slices.Contains(names, "aws-auth")) || m.Any(mayMakeMap) && names == nil && a.cluster.AWSAuth == inventory.No
}

// Hold is what a binding lets its subjects change by which nobody gets a command run, but
// which others rely on.
type Hold struct {
	Binding *inventory.Binding
	Grants  []Grant
	Actors  []Actor
}

// Blinding lists the bindings, other than what every new cluster has, whose subjects may
// take away what refuses pods and commands: webhooks and policies of admission.
func (a *Analysis) Blinding() []Hold { return a.holds(mayBlind) }

// Serving lists those whose subjects may have an API served by a server of their own.
func (a *Analysis) Serving() []Hold { return a.holds(mayServeAPI) }

func (a *Analysis) holds(m rbac.Mask) (out []Hold) {
	at := map[int]int{}
	for n := range a.index.Grants {
		g := &a.index.Grants[n]
		b := &a.cluster.Bindings[g.Binding]
		if g.Namespace != "" || !g.Mask.Any(m) || b.Default || a.whole(n) {
			continue
		}
		if _, ok := at[g.Binding]; !ok {
			at[g.Binding] = len(out)
			out = append(out, Hold{Binding: b, Actors: actorsOf(b)})
		}
		h := &out[at[g.Binding]]
		h.Grants = append(h.Grants, a.grant(n))
	}
	return slices.DeleteFunc(out, func(h Hold) bool { return len(h.Actors) == 0 })
}

// actorsOf lists whom a binding names.
func actorsOf(b *inventory.Binding) (out []Actor) {
	for _, s := range b.Subjects {
		switch s.Kind {
		case inventory.User:
			out = append(out, actorAt(place{kind: atUser, name: s.Name}))
		case inventory.Group:
			out = append(out, actorAt(place{kind: atGroup, name: s.Name}))
		case inventory.ServiceAccountSubject:
			if namespace := cmp.Or(s.Namespace, b.Namespace); namespace != "" {
				out = append(out, Actor("serviceaccount:"+namespace+"/"+s.Name))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
