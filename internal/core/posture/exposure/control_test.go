package exposure_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/testbed/clusters"
)

// TestControl: who changes what the control plane asks gets past what it forbids.
func TestControl(t *testing.T) {
	const all = "dev/other dev/run shop/db-0 shop/web-1"
	type grant struct{ in, text string }
	eks := func(asked, there inventory.Answer) func(*inventory.Cluster) {
		return func(c *inventory.Cluster) {
			c.AWSAuth = there
			if asked != inventory.Unknown {
				c.APIServer = &inventory.APIServer{ConfigMapAuth: asked}
			}
		}
	}
	for _, tt := range []struct {
		name   string
		grants []grant
		change func(*inventory.Cluster)
		want   string
	}{
		{name: "a label and a pod", grants: []grant{{"", "patch namespaces"}, {"shop", "create pods"}}, want: all},
		{name: "a label and a workload", grants: []grant{{"", "update namespaces"}, {"shop", "create apps:deployments"}}, want: all},
		{name: "by a rule of the namespace itself", grants: []grant{{"shop", "patch namespaces"}, {"shop", "create pods"}}, want: all},
		{name: "of that namespace by name", grants: []grant{{"", "patch namespaces shop"}, {"shop", "create pods"}}, want: all},
		{name: "of another namespace", grants: []grant{{"", "patch namespaces dev"}, {"shop", "create pods"}}},
		{name: "a label without a pod", grants: []grant{{"", "patch namespaces"}}},
		{name: "a volume, a claim and a pod", grants: []grant{{"", "create persistentvolumes"}, {"shop", "create persistentvolumeclaims,pods"}}, want: all},
		{name: "a volume by a rule of a namespace, which has none", grants: []grant{{"shop", "create persistentvolumes,persistentvolumeclaims,pods"}}},
		{name: "a volume without a claim", grants: []grant{{"", "create persistentvolumes"}, {"shop", "create pods"}}},
		{name: "a claim elsewhere", grants: []grant{{"", "create persistentvolumes"}, {"shop", "create pods"}, {"dev", "create persistentvolumeclaims"}}},

		{name: "aws-auth where there is one", grants: []grant{{"kube-system", "patch configmaps"}}, change: eks(inventory.Unknown, inventory.Yes), want: "everything " + all},
		{name: "by its name", grants: []grant{{"", "update configmaps aws-auth"}}, change: eks(inventory.Unknown, inventory.Yes), want: "everything " + all},
		{name: "by another name", grants: []grant{{"", "update configmaps other"}}, change: eks(inventory.Unknown, inventory.Yes)},
		{name: "in another namespace", grants: []grant{{"shop", "patch configmaps"}}, change: eks(inventory.Unknown, inventory.Yes)},
		{name: "where there is none", grants: []grant{{"", "patch,create configmaps"}}, change: eks(inventory.Unknown, inventory.No)},
		{name: "where nobody could tell", grants: []grant{{"", "patch configmaps"}}},
		{name: "where it is not looked at", grants: []grant{{"", "patch configmaps"}}, change: eks(inventory.No, inventory.Yes)},
		{name: "made where it would be looked at", grants: []grant{{"", "create configmaps"}}, change: eks(inventory.Yes, inventory.No), want: "everything " + all},
		{name: "made where there is one", grants: []grant{{"", "create configmaps"}}, change: eks(inventory.Yes, inventory.Yes)},

		{name: "webhooks that refuse", grants: []grant{{"", "* admissionregistration.k8s.io:validatingwebhookconfigurations"}}},
		{name: "APIs", grants: []grant{{"", "* apiregistration.k8s.io:apiservices"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			for _, g := range tt.grants {
				give(t, c, g.in, "User", "ann", g.text)
			}
			if tt.change != nil {
				tt.change(c)
			}
			if got := reached(t, c, "user:ann"); got != tt.want {
				t.Errorf("reaches %q, want %q", got, tt.want)
			}
		})
	}
}

// TestControlDoubts: what may stand in the way of a pod that gets past its namespace.
func TestControlDoubts(t *testing.T) {
	c := shop()
	c.Webhooks = []inventory.Webhook{{Object: inventory.Object{Name: "w"}, Resources: []string{"/pods"}}}
	give(t, c, "", "User", "ann", "create persistentvolumes,persistentvolumeclaims,pods")
	give(t, c, "", "User", "bob", "patch namespaces")
	give(t, c, "dev", "User", "bob", "create pods")
	a := exposure.New(c)
	for who, want := range map[exposure.Actor]string{
		"user:ann": "the admission webhook w refuses it", "user:bob": "the admission webhook w refuses it",
	} {
		e, ok, err := a.Path(who, &c.Pods[0])
		if err != nil || !ok || e.Via[0].Edge != exposure.EdgeControl || !strings.HasSuffix(e.Via[1].Unless, want) {
			t.Errorf("%s: %t %+v %v", who, ok, e.Via, err)
		}
	}
	if r, err := a.Reach("user:ann"); err != nil || cmp.Diff([]string{"dev", "shop"}, r.NewPods) != "" {
		t.Errorf("%v %v", r.NewPods, err)
	}
}

// TestHolds: what lets somebody take away a guard, and what only lets him add one.
func TestHolds(t *testing.T) {
	c := shop()
	give(t, c, "", "User", "ann", "delete admissionregistration.k8s.io:validatingadmissionpolicybindings")
	give(t, c, "", "User", "ann", "create,get admissionregistration.k8s.io:validatingwebhookconfigurations")
	give(t, c, "shop", "User", "ann", "delete admissionregistration.k8s.io:validatingwebhookconfigurations")
	give(t, c, "", "ServiceAccount", "dev/ci", "create apiregistration.k8s.io:apiservices")
	give(t, c, "", "User", "root", "* *:*")
	a := exposure.New(c)
	say := func(list []exposure.Hold) (out []string) {
		for _, h := range list {
			out = append(out, fmt.Sprint(h.Binding.Name, h.Actors, len(h.Grants)))
		}
		return out
	}
	if d := cmp.Diff([]string{"r0[user:ann] 1"}, say(a.Blinding())); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"r3[serviceaccount:dev/ci] 1"}, say(a.Serving())); d != "" {
		t.Error(d)
	}
}

// TestSameAgain: the same cluster gives the same levers, in the same words, each time.
func TestSameAgain(t *testing.T) {
	c := clusters.Size{Seed: 1, Pods: 100, Namespaces: 20, Nodes: 5, Accounts: 40, Roles: 120, Bindings: 600, Users: 12}.Cluster()
	want, _ := exposure.New(c).Weigh().Levers()
	for range 4 {
		got, _ := exposure.New(c).Weigh().Levers()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("levers differ (-before +now):\n%s", diff)
		}
	}
}
