package checks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// Result is how a check ended.
type Result string

// The results.
const (
	Failed  Result = "failed"
	Unknown Result = "unknown" // something that it needs was not read
	Passed  Result = "passed"
)

// Everything is the subject of a check that nothing of what was read fails.
const Everything = "everything that was read"

// Outcome is a rule, what it was asked about, and how that ended.
type Outcome struct {
	Rule    posture.Rule
	Subject string // as a finding's, or Everything
	Result  Result
	Why     string // of Unknown
	Found   *Found // of Failed
}

// Outcomes lists how every check of an inventory ended, in order of the rules' ids: one
// for each finding, one for each check that could not be decided, and one for each
// rule of which nothing is to be reported. Such a rule has passed only where all that
// it needs was read and understood. Rules about what is not in the inventory at all,
// such as a Docker engine, are left out.
func (r *Report) Outcomes(i *inventory.Inventory) []Outcome {
	var out []Outcome
	rules, said := map[string]posture.Rule{}, map[string]bool{}
	for _, rule := range Rules() {
		rules[rule.ID] = rule
	}
	for n := range r.Found {
		f := &r.Found[n]
		said[f.Rule] = true
		rule, ok := rules[f.Rule]
		if !ok { // of what was found beside the checks
			rule = posture.Rule{ID: f.Rule, Severity: f.Severity, Title: f.Title, Remedy: f.Remedy}
		}
		out = append(out, Outcome{Rule: rule, Subject: f.Subject, Result: Failed, Found: f})
	}
	for _, o := range r.Open {
		said[o.Rule] = true
		out = append(out, Outcome{Rule: rules[o.Rule], Subject: o.Subject, Result: Unknown, Why: o.Why})
	}
	for id, rule := range rules {
		s := scopeOf(id)
		if said[id] || !s.about(i) && !slices.ContainsFunc(s.needs, i.Is) {
			continue
		}
		o := Outcome{Rule: rule, Subject: Everything, Result: Passed}
		if o.Why = s.lacking(i); o.Why != "" {
			o.Result = Unknown
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(a.Rule.ID, b.Rule.ID), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// lacking says why a rule without findings has not passed; "" when it has.
func (s *scope) lacking(i *inventory.Inventory) string {
	var out []string
	for _, u := range i.Unread {
		if slices.Contains(s.needs, u.What) {
			out = append(out, fmt.Sprintf("%s of %s not read: %s", u.What, cmp.Or(u.From, "the input"), u.Why))
		}
	}
	if s.open != nil {
		if why := s.open(i); why != "" {
			out = append(out, why)
		}
	}
	if n := len(i.Skipped); n > 0 { // it may have been anything
		out = append(out, fmt.Sprintf("not understood: %d, the first in %s: %s", n, i.Skipped[0].Origin, i.Skipped[0].Why))
	}
	const most = 3
	if more := len(out) - most; more > 0 {
		out = append(out[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, "; ")
}

// scope is rules by their ids, what they are about, and what must have been read before
// one of them can be said to have passed.
type scope struct {
	from, to string
	about    func(*inventory.Inventory) bool // whether the inventory has it
	needs    []inventory.Part
	// open says why not all that it is about was looked at; "" when it was. nil for rules
	// that look at all that was read.
	open func(*inventory.Inventory) string
}

// The parts of an inventory that several rules need.
var (
	bindingParts = []inventory.Part{inventory.PartRoles, inventory.PartClusterRoles, inventory.PartRoleBindings, inventory.PartClusterBindings}
	verbParts    = []inventory.Part{inventory.PartVersion, inventory.PartGates}
	podParts     = []inventory.Part{inventory.PartPods, inventory.PartWorkloads}
	tokenParts   = []inventory.Part{inventory.PartServiceAccounts, inventory.PartTokenSecrets}
)

var scopes = []scope{
	{from: "SP-DKR-001", to: "SP-DKR-001", about: engines, needs: []inventory.Part{inventory.PartListeners, inventory.PartDaemon}},
	{from: "SP-DKR-002", to: "SP-DKR-003", about: machines, needs: []inventory.Part{inventory.PartSockets}},
	{from: "SP-DKR-004", to: "SP-DKR-004", about: machines, needs: []inventory.Part{inventory.PartSockets, inventory.PartAccounts}},
	{from: "SP-DKR-005", to: "SP-DKR-005", about: machines, needs: []inventory.Part{inventory.PartSudo}},
	{from: "SP-DKR-006", to: "SP-DKR-019", about: engines, needs: []inventory.Part{inventory.PartDaemon}},
	{from: "SP-DKR-020", to: "SP-DKR-020", about: engines, needs: []inventory.Part{inventory.PartContainers, inventory.PartSockets}},
	{from: "SP-DKR-021", to: "SP-DKR-999", about: engines, needs: []inventory.Part{inventory.PartContainers}},
	{from: "SP-IMG-001", to: "SP-IMG-999", about: containers, needs: []inventory.Part{inventory.PartImages, inventory.PartContainers, inventory.PartPods}, open: imagesOpen},
	{from: "SP-K8S-001", to: "SP-K8S-001", about: cluster, needs: bindingParts},
	{from: "SP-K8S-002", to: "SP-K8S-003", about: cluster, needs: slices.Concat(bindingParts, verbParts)},
	{from: "SP-K8S-004", to: "SP-K8S-005", about: cluster, needs: bindingParts},
	{from: "SP-K8S-006", to: "SP-K8S-007", about: cluster, needs: slices.Concat(bindingParts, []inventory.Part{inventory.PartPodMakers})},
	{from: "SP-K8S-008", to: "SP-K8S-008", about: cluster, needs: bindingParts},
	{from: "SP-K8S-009", to: "SP-K8S-010", about: cluster, needs: slices.Concat(bindingParts, tokenParts)},
	{from: "SP-K8S-011", to: "SP-K8S-013", about: cluster, needs: bindingParts},
	{from: "SP-K8S-014", to: "SP-K8S-014", about: cluster, needs: []inventory.Part{inventory.PartRoleBindings, inventory.PartClusterBindings}},
	{from: "SP-K8S-015", to: "SP-K8S-016", about: cluster, needs: slices.Concat(bindingParts, verbParts, tokenParts)},
	{from: "SP-K8S-017", to: "SP-K8S-017", about: cluster, needs: slices.Concat(bindingParts, []inventory.Part{inventory.PartNamespaces, inventory.PartAWSAuth})},
	{from: "SP-K8S-018", to: "SP-K8S-019", about: cluster, needs: bindingParts},
	{from: "SP-K8S-901", to: "SP-K8S-919", about: apiServers, needs: []inventory.Part{inventory.PartAPIServer, inventory.PartAudit}},
	{from: "SP-K8S-920", to: "SP-K8S-999", about: keyFiles, needs: []inventory.Part{inventory.PartFiles}},
	{from: "SP-KLT-001", to: "SP-KLT-999", about: kubelets, needs: []inventory.Part{inventory.PartKubelet}},
	{from: "SP-PATH-001", to: "SP-PATH-001", about: cluster, needs: podParts},
	{from: "SP-PATH-002", to: "SP-PATH-002", about: cluster, needs: slices.Concat(bindingParts, verbParts, podParts, tokenParts)},
	{from: "SP-PATH-003", to: "SP-PATH-003", about: cluster, needs: podParts},
	{from: "SP-PSS-001", to: "SP-PSS-999", about: cluster, needs: podParts, open: standardsOpen},
}

// scopeOf returns the scope of a rule; every rule has one.
func scopeOf(id string) *scope {
	i := slices.IndexFunc(scopes, func(s scope) bool { return s.from <= id && id <= s.to })
	return &scopes[i]
}

// containers reports whether there are any.
func containers(i *inventory.Inventory) bool {
	return i.Cluster != nil && len(i.Cluster.Pods) > 0 || slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool { return len(h.Running) > 0 })
}

// imagesOpen says that there are containers whose images nobody looked into.
func imagesOpen(i *inventory.Inventory) string {
	without := func(list []inventory.Container) bool {
		return slices.ContainsFunc(list, func(c inventory.Container) bool { return c.Inside == nil })
	}
	const why = "images were not looked into: --images says where they are"
	for h := range i.Hosts {
		if slices.ContainsFunc(i.Hosts[h].Running, func(c inventory.DockerOrCRI) bool { return c.Inside == nil }) {
			return why
		}
	}
	if i.Cluster != nil && slices.ContainsFunc(i.Cluster.Pods, func(p inventory.Pod) bool { return without(p.Containers) }) {
		return why
	}
	return ""
}

// standardsOpen says that there are pods that nobody held against the Pod Security
// Standards, as those of a snapshot of an earlier Sallyport.
func standardsOpen(i *inventory.Inventory) string {
	if i.Cluster != nil && slices.ContainsFunc(i.Cluster.Pods, func(p inventory.Pod) bool { return p.Security == nil }) {
		return "pods were not held against the Pod Security Standards"
	}
	return ""
}

func cluster(i *inventory.Inventory) bool { return i.Cluster != nil }

func engines(i *inventory.Inventory) bool {
	return slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool { return h.Docker != nil })
}

// machines reports whether a host was read itself, and not only a file of its kubelet.
func machines(i *inventory.Inventory) bool {
	return slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool {
		return len(h.Users) > 0 || len(h.Sockets) > 0 || len(h.Sudo) > 0 || h.Docker != nil
	})
}

func keyFiles(i *inventory.Inventory) bool {
	return slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool { return len(h.Files) > 0 })
}

func apiServers(i *inventory.Inventory) bool {
	return cluster(i) && i.Cluster.APIServer != nil || slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool { return h.APIServer != nil })
}

func kubelets(i *inventory.Inventory) bool {
	return cluster(i) && slices.ContainsFunc(i.Cluster.Nodes, func(n inventory.Node) bool { return n.Kubelet != nil }) ||
		slices.ContainsFunc(i.Hosts, func(h inventory.Host) bool { return h.Kubelet != nil })
}

// Path returns the steps of a finding about a pod that leads on (SP-PATH-001 and 002),
// by the analysis that it was found with; nil of any other finding.
func (f *Found) Path(l *exposure.Leads) []exposure.Step {
	if f.Target == nil || f.Rule != ruleBreakout && f.Rule != ruleToken {
		return nil
	}
	pod := l.Pod(f.Target.Namespace, f.Target.Pod)
	switch {
	case pod == nil:
		return nil
	case f.Rule == ruleBreakout:
		return l.Of(pod, "")
	}
	return l.Of(pod, exposure.Actor(f.Actor.Name))
}
