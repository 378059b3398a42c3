// Package checks says what of an inventory is worth a finding, how much it matters,
// and what to do about it.
//
// There is one finding for each rule and binding, and one for each workload or
// service account by which others are reached; never one for each actor and pod. How
// much a finding matters is worked out of what it leads to, by a formula that every
// finding shows: see Score. The package is pure.
package checks

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/containerrules"
	"github.com/sallyport/sallyport/internal/core/posture/controlplane"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/hostrules"
)

// rule is a rule about what bindings, pods and service accounts lead to.
type rule struct {
	posture.Rule
	edge exposure.Edge // of the levers that it is about
	does string        // what who has it can do, after his name and before a place
}

// The rules that are not about one kind of step.
const (
	ruleWhole     = "SP-K8S-001"
	ruleMasters   = "SP-K8S-014"
	ruleAnonymous = "SP-K8S-015"
	ruleAnyone    = "SP-K8S-016"
	ruleBlinding  = "SP-K8S-018"
	ruleServing   = "SP-K8S-019"
	ruleBreakout  = "SP-PATH-001"
	ruleToken     = "SP-PATH-002"
	ruleShared    = "SP-PATH-003"
)

// Rules lists all rules of a scan, those of settings and hosts among them, in order of
// their ids.
func Rules() []posture.Rule {
	out := slices.Concat(controlplane.Rules(), hostrules.Rules(), containerrules.Rules())
	for i := range rules {
		out = append(out, rules[i].Rule)
	}
	slices.SortFunc(out, func(a, b posture.Rule) int { return strings.Compare(a.ID, b.ID) })
	return out
}

var rules = []rule{
	{Rule: posture.Rule{ID: ruleWhole, Weighed: true, Title: "A binding allows everything",
		Remedy: "Give only what is needed, for a time, or in a namespace",
		Attack: []attack.Technique{attack.T1609, "T1078", "T1098.006"}, CIS: []string{"kubernetes 5.1.1", "kubernetes 5.1.3"}}, does: "may do everything"},
	{Rule: posture.Rule{ID: "SP-K8S-002", Weighed: true, Title: "A binding allows exec",
		Remedy: "Leave out pods/exec, or give it for a time",
		Attack: []attack.Technique{attack.T1609}}, edge: exposure.EdgeExec, does: "can exec in"},
	{Rule: posture.Rule{ID: "SP-K8S-003", Weighed: true, Title: "A binding allows attach",
		Remedy: "Leave out pods/attach, or give it for a time",
		Attack: []attack.Technique{attack.T1609}}, edge: exposure.EdgeAttach, does: "can attach to"},
	{Rule: posture.Rule{ID: "SP-K8S-004", Weighed: true, Title: "A binding allows ephemeral containers",
		Remedy: "Leave out pods/ephemeralcontainers, or give it for a time: it brings a shell into containers that have none",
		Attack: []attack.Technique{attack.T1609, "T1610"}}, edge: exposure.EdgeEphemeral, does: "can start an ephemeral container in"},
	{Rule: posture.Rule{ID: "SP-K8S-005", Weighed: true, Title: "A binding allows nodes/proxy",
		Remedy: "Leave out nodes/proxy: with get alone it runs commands through the kubelet; nodes/metrics, nodes/stats and nodes/log do for monitoring",
		Attack: []attack.Technique{attack.T1609, "T1552.007"}, CIS: []string{"kubernetes 5.1.10"}}, edge: exposure.EdgeNodeProxy, does: "can run commands, through kubelets, in"},
	{Rule: posture.Rule{ID: "SP-K8S-006", Weighed: true, Title: "A binding allows new workloads",
		Remedy: "Let pipelines alone make workloads, and set a Pod Security level of at least baseline on the namespace",
		Attack: []attack.Technique{attack.T1609, "T1610"}, CIS: []string{"kubernetes 5.1.4"}}, edge: exposure.EdgeCreate, does: "can run commands of its own in"},
	{Rule: posture.Rule{ID: "SP-K8S-007", Weighed: true, Title: "A binding allows to change workloads",
		Remedy: "Let pipelines alone change workloads",
		Attack: []attack.Technique{attack.T1609, "T1610"}}, edge: exposure.EdgeChange, does: "can change what runs in"},
	{Rule: posture.Rule{ID: "SP-K8S-008", Weighed: true, Title: "A binding allows impersonation",
		Remedy: "Leave out impersonate, or limit it to names",
		Attack: []attack.Technique{attack.T1609, "T1078"}, CIS: []string{"kubernetes 5.1.8"}}, edge: exposure.EdgeImpersonate, does: "can act as"},
	{Rule: posture.Rule{ID: "SP-K8S-009", Weighed: true, Title: "A binding allows tokens of service accounts to be made",
		Remedy: "Leave out serviceaccounts/token, or limit it to names",
		Attack: []attack.Technique{attack.T1609, "T1528"}, CIS: []string{"kubernetes 5.1.13"}}, edge: exposure.EdgeMint, does: "can make a token for"},
	{Rule: posture.Rule{ID: "SP-K8S-010", Weighed: true, Title: "A binding allows tokens in secrets to be read",
		Remedy: "Leave out secrets, or remove those of type kubernetes.io/service-account-token",
		Attack: []attack.Technique{attack.T1609, "T1528"}, CIS: []string{"kubernetes 5.1.2"}}, edge: exposure.EdgeSecret, does: "can read a token of"},
	{Rule: posture.Rule{ID: "SP-K8S-011", Weighed: true, Title: "A binding allows its subject to give itself more",
		Remedy: "Leave out bind and escalate, or limit bind to the names of harmless roles",
		Attack: []attack.Technique{attack.T1609, "T1098.006"}, CIS: []string{"kubernetes 5.1.8"}}, edge: exposure.EdgeGrant, does: "can give itself"},
	{Rule: posture.Rule{ID: "SP-K8S-012", Weighed: true, Title: "A binding allows client certificates to be made",
		Remedy: "Leave approval of clients' certificates to its controller, and nodeclient to the tokens by which nodes join",
		Attack: []attack.Technique{attack.T1609, "T1078"}, CIS: []string{"kubernetes 5.1.11"}}, edge: exposure.EdgeCertificate, does: "can get a certificate for"},
	{Rule: posture.Rule{ID: "SP-K8S-013", Weighed: true, Title: "A binding allows pods to be rewritten on their way in",
		Remedy: "Leave out mutating webhooks and policies, or limit them to names",
		Attack: []attack.Technique{attack.T1609, "T1610"}, CIS: []string{"kubernetes 5.1.12"}}, edge: exposure.EdgeRewrite, does: "can rewrite"},
	{Rule: posture.Rule{ID: ruleMasters, Weighed: true, Title: "A binding names system:masters",
		Remedy: "Bind a group of your own: what system:masters may do no binding gives, and none can take away",
		Attack: []attack.Technique{attack.T1609, "T1078"}, CIS: []string{"kubernetes 5.1.7"}}},
	{Rule: posture.Rule{ID: ruleAnonymous, Weighed: true, Title: "A command can be run by whoever does not say who he is",
		Remedy: "Bind somebody by name, and let the API server refuse anonymous requests (--anonymous-auth)",
		Attack: []attack.Technique{attack.T1609, "T1133"}, CIS: []string{"kubernetes 1.2.1"}}},
	{Rule: posture.Rule{ID: ruleAnyone, Weighed: true, Title: "A command can be run by everybody whom the API server knows",
		Remedy: "Bind somebody by name",
		Attack: []attack.Technique{attack.T1609, "T1078"}, CIS: []string{"kubernetes 5.1.1"}}},
	{Rule: posture.Rule{ID: "SP-K8S-017", Weighed: true, Title: "A binding allows to change what the control plane asks",
		Remedy: "Leave out namespaces, persistentvolumes and, on EKS, the ConfigMap aws-auth, or limit them to names",
		Attack: []attack.Technique{attack.T1609, "T1610", "T1098.006"}, CIS: []string{"kubernetes 5.1.9"}}, edge: exposure.EdgeControl, does: "can have"},
	{Rule: posture.Rule{ID: ruleBlinding, Weighed: true, Title: "A binding allows to take away what refuses pods and commands",
		Remedy: "Leave out validating webhooks and policies, or limit them to names",
		Attack: []attack.Technique{attack.T1609, "T1562.001"}, CIS: []string{"kubernetes 5.1.12"}}, does: "can change or delete the webhooks and policies of admission"},
	{Rule: posture.Rule{ID: ruleServing, Weighed: true, Title: "A binding allows an API to be served by another server",
		Remedy: "Leave out apiservices, or limit them to names",
		Attack: []attack.Technique{attack.T1609}}, does: "can have an API served by a server of its own, which sees what is asked of it, and by whom, and answers as it likes; it gets no credentials"},
	{Rule: posture.Rule{ID: ruleBreakout, Weighed: true, Title: "A command in the pod is root on the node",
		Remedy: "Take away what breaks out, and set a Pod Security level of at least baseline on the namespace",
		Attack: []attack.Technique{attack.T1609, "T1611"}, CIS: []string{"kubernetes 5.2.1", "kubernetes 5.2.2"}}},
	{Rule: posture.Rule{ID: ruleToken, Weighed: true, Title: "The token in the pod leads to other pods",
		Remedy: "Give the service account less, or do not mount its token",
		Attack: []attack.Technique{attack.T1609, "T1528", "T1552.001"}, CIS: []string{"kubernetes 5.1.6"}}},
	{Rule: posture.Rule{ID: ruleShared, Weighed: true, Title: "Containers of a pod share a process namespace",
		Remedy: "Leave out shareProcessNamespace, or run the containers as different users other than root",
		Attack: []attack.Technique{attack.T1609, "T1055.008"}}},
}

func ruleByID(id string) *rule {
	return &rules[slices.IndexFunc(rules, func(r rule) bool { return r.ID == id })]
}

// ruleOf returns the rule about a kind of step; nil when there is none.
func ruleOf(e exposure.Edge) *rule {
	if e == "" {
		return ruleByID(ruleWhole)
	}
	if i := slices.IndexFunc(rules, func(r rule) bool { return r.edge == e }); i >= 0 {
		return &rules[i]
	}
	return nil
}
