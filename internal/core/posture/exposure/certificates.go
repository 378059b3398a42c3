package exposure

import (
	"github.com/sallyport/sallyport/internal/core/posture/rbac"
)

// The signers whose certificates the API server takes for clients': for any name and any
// groups but system:masters, and for nodes alone.
const (
	anySigner    = "kubernetes.io/*"
	clientSigner = "kubernetes.io/kube-apiserver-client"
	nodeSigner   = "kubernetes.io/kube-apiserver-client-kubelet"
)

// certified links a subject with those of whom it can get a client's certificate: by
// approving its own request or, for nodes, by having it approved.
func (a *Analysis) certified(who int32, has *held) {
	request := has.one(mayRequest, unnamed)
	if request < 0 {
		return
	}
	kubelets := a.at(place{kind: atKubelets})
	if n := has.one(mayBeNode, unnamed); n >= 0 {
		a.link(who, kubelets, a.by(EdgeCertificate, request, n))
	}
	approve := has.one(mayApprove, anyGrant)
	if approve < 0 {
		return
	}
	by := func(signer string) (hop int32, ok bool) {
		n := has.one(maySign, func(g *rbac.Grant) bool { return g.About(signer) || g.About(anySigner) })
		if n < 0 {
			return 0, false
		}
		return a.by(EdgeCertificate, request, approve, n), true
	}
	if hop, ok := by(nodeSigner); ok {
		a.link(who, kubelets, hop)
	}
	if hop, ok := by(clientSigner); ok { // a certificate may have any name
		for _, to := range []int32{a.at(place{kind: atUsers}), a.at(place{kind: atGroups}), a.anyName(""), kubelets} {
			a.link(who, to, hop)
		}
	}
}
