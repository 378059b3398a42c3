// Package controlplane says what is wrong with the settings of kubelets and of an API
// server, and with the files that hold their power.
//
// A setting that nobody could tell gives no finding and no pass: it is open. The
// package is pure.
package controlplane

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// checker gathers what is found.
type checker struct {
	time  time.Time
	found []finding.Finding
	open  []posture.Open
}

// Check returns what is wrong in an inventory, in the order of rules and subjects, and
// what could not be decided of what was read.
func Check(i *inventory.Inventory) ([]finding.Finding, []posture.Open) {
	c := checker{time: i.Time}
	seen := map[string]bool{} // a node's kubelet may have been read with its host, too
	kubelet := func(k *inventory.Kubelet, subject string) {
		if k != nil && !seen[subject] {
			seen[subject] = true
			c.kubelet(k, subject)
		}
	}
	for n := range i.Hosts {
		h := &i.Hosts[n]
		if h.Kubelet != nil {
			kubelet(h.Kubelet, "node:"+cmp.Or(h.Kubelet.Node, h.Name))
		}
		if h.APIServer != nil && !same(h.APIServer, i.Cluster) {
			c.apiServer(h.APIServer, "host:"+h.Name)
		}
		c.files(h)
	}
	if i.Cluster != nil {
		for n := range i.Cluster.Nodes {
			kubelet(i.Cluster.Nodes[n].Kubelet, "node:"+i.Cluster.Nodes[n].Name)
		}
		if i.Cluster.APIServer != nil {
			c.apiServer(i.Cluster.APIServer, "cluster")
		}
	}
	slices.SortStableFunc(c.found, func(a, b finding.Finding) int {
		return strings.Compare(a.Rule+"\x00"+a.Subject, b.Rule+"\x00"+b.Subject)
	})
	return c.found, c.open
}

// same reports whether a host's API server is what is known of a cluster's.
func same(s *inventory.APIServer, c *inventory.Cluster) bool {
	return c != nil && reflect.DeepEqual(s, c.APIServer)
}

// about is whose settings are looked at.
type about struct {
	subject string
	origin  inventory.Origin
	set     []inventory.Setting
}

// at is where a setting stands, or what it is a setting of when it has its default.
func (a *about) at(setting string) (string, string) {
	for _, s := range a.set {
		if s.Name == setting {
			return s.Origin.String(), s.Name + ": " + s.Value
		}
	}
	return a.origin.String(), setting + " is not set: the default counts"
}

// report adds a finding about a setting.
func (c *checker) report(r *posture.Rule, a *about, setting, message string) {
	source, what := a.at(setting)
	c.add(r, a.subject+" "+setting, message, finding.Evidence{Source: source, What: what})
}

func (c *checker) add(r *posture.Rule, subject, message string, evidence finding.Evidence) {
	f := finding.Finding{
		Subject: subject, Message: message, Time: c.time, Target: &finding.Target{Object: subject}, Evidence: []finding.Evidence{evidence},
	}
	r.Complete(&f)
	c.found = append(c.found, f)
}

func (c *checker) unknown(r *posture.Rule, a *about, setting string) {
	c.open = append(c.open, r.Open(a.subject+" "+setting, "nobody could tell this setting"))
}

// answer reports a setting when it has the bad answer, and opens it when unknown.
func (c *checker) answer(r *posture.Rule, a *about, setting string, is, bad inventory.Answer, message string) {
	switch is {
	case bad:
		c.report(r, a, setting, message)
	case inventory.Unknown:
		c.unknown(r, a, setting)
	}
}
