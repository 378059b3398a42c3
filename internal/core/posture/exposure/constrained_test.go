package exposure_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestConstrained: who acts as somebody else for single things does what that one may,
// and no more than the things.
func TestConstrained(t *testing.T) {
	type grant struct{ in, kind, who, text string }
	const auth = "authentication.k8s.io:"
	bob := grant{"shop", "User", "bob", "create pods/exec,pods/attach"}
	anyUser := grant{"", "User", "ann", "impersonate:user-info " + auth + "users"}
	for _, tt := range []struct {
		name   string
		grants []grant
		who    exposure.Actor // "" is ann
		change func(*inventory.Cluster)
		want   string
	}{
		{name: "as bob, for exec", grants: []grant{bob, {"", "User", "ann", "impersonate:user-info " + auth + "users bob"}, {"shop", "User", "ann", "impersonate-on:user-info:create pods/exec"}}, want: "shop/db-0 shop/web-1"},
		{name: "as anybody", grants: []grant{bob, anyUser, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}, want: "shop/db-0 shop/web-1"},
		{name: "before 1.36", grants: []grant{bob, anyUser, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}, change: func(c *inventory.Cluster) { c.Version.Minor = 35 }},
		{name: "with the gate on", grants: []grant{bob, anyUser, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}, change: func(c *inventory.Cluster) {
			c.Version.Minor, c.Gates = 35, map[string]bool{"ConstrainedImpersonation": true}
		}, want: "shop/db-0 shop/web-1"},
		{name: "in one pod", grants: []grant{bob, anyUser, {"shop", "User", "ann", "impersonate-on:user-info:create pods/exec db-0"}}, want: "shop/db-0"},
		{name: "in another namespace", grants: []grant{bob, anyUser, {"dev", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "for another verb", grants: []grant{bob, anyUser, {"", "User", "ann", "impersonate-on:user-info:get pods/exec"}}},
		{name: "for every verb, which is none", grants: []grant{bob, anyUser, {"", "User", "ann", "impersonate-on:user-info:* pods/exec"}}},
		{name: "in another mode", grants: []grant{bob, anyUser, {"", "User", "ann", "impersonate-on:serviceaccount:create pods/exec"}}},
		{name: "as nobody", grants: []grant{bob, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "as a user by a rule of a namespace", grants: []grant{bob, {"shop", "User", "ann", "impersonate:user-info " + auth + "users"}, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "as a user of the core group", grants: []grant{bob, {"", "User", "ann", "impersonate:user-info users"}, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "as a service account's name, which is no user", grants: []grant{
			{"shop", "ServiceAccount", "dev/ci", "create pods/exec"}, anyUser, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "as a service account", grants: []grant{{"shop", "ServiceAccount", "dev/ci", "create pods/exec"},
			{"dev", "User", "ann", "impersonate:serviceaccount " + auth + "serviceaccounts ci"}, {"", "User", "ann", "impersonate-on:serviceaccount:create pods/exec"}}, want: "shop/db-0 shop/web-1"},
		{name: "as another service account", grants: []grant{{"shop", "ServiceAccount", "dev/ci", "create pods/exec"},
			{"shop", "User", "ann", "impersonate:serviceaccount " + auth + "serviceaccounts"}, {"", "User", "ann", "impersonate-on:serviceaccount:create pods/exec"}}},
		{name: "in a group, with some user", grants: []grant{{"shop", "Group", "ops", "create pods/exec"}, {"", "User", "ann", "impersonate:user-info " + auth + "users x"},
			{"", "User", "ann", "impersonate:user-info " + auth + "groups ops"}, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}, want: "shop/db-0 shop/web-1"},
		{name: "in a group without a user", grants: []grant{{"shop", "Group", "ops", "create pods/exec"},
			{"", "User", "ann", "impersonate:user-info " + auth + "groups ops"}, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "never as system:masters", grants: []grant{anyUser, {"shop", "Group", "system:masters", "create pods/exec"},
			{"", "User", "ann", "impersonate:user-info " + auth + "groups"}, {"", "User", "ann", "impersonate-on:user-info:create pods/exec"}}},
		{name: "as a node, for the tokens of its pods", grants: []grant{{"shop", "ServiceAccount", "dev/ci", "create pods/exec web-1"},
			{"", "User", "ann", "impersonate:arbitrary-node " + auth + "nodes n1"}, {"", "User", "ann", "impersonate-on:arbitrary-node:create serviceaccounts/token"}}, want: "shop/web-1"},
		{name: "as a node that has no such pod", grants: []grant{{"shop", "ServiceAccount", "dev/ci", "create pods/exec web-1"},
			{"", "User", "ann", "impersonate:arbitrary-node " + auth + "nodes n2"}, {"", "User", "ann", "impersonate-on:arbitrary-node:create serviceaccounts/token"}}},
		{name: "as the node of one's own pod", who: "serviceaccount:shop/web", grants: []grant{{"dev", "ServiceAccount", "dev/ci", "create pods/exec"},
			{"", "ServiceAccount", "shop/web", "impersonate:associated-node " + auth + "nodes"}, {"", "ServiceAccount", "shop/web", "impersonate-on:associated-node:create serviceaccounts/token"}}, want: "dev/other dev/run"},
		{name: "by a rule for that node alone, which is not asked for", who: "serviceaccount:shop/web", grants: []grant{{"dev", "ServiceAccount", "dev/ci", "create pods/exec"},
			{"", "ServiceAccount", "shop/web", "impersonate:associated-node " + auth + "nodes n1"}, {"", "ServiceAccount", "shop/web", "impersonate-on:associated-node:create serviceaccounts/token"}}},
		{name: "a user has no node", grants: []grant{{"dev", "ServiceAccount", "dev/ci", "create pods/exec"},
			{"", "User", "ann", "impersonate:associated-node " + auth + "nodes"}, {"", "User", "ann", "impersonate-on:associated-node:create serviceaccounts/token"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := shop()
			for _, g := range tt.grants {
				give(t, c, g.in, g.kind, g.who, g.text)
			}
			if tt.change != nil {
				tt.change(c)
			}
			who := tt.who
			if who == "" {
				who = "user:ann"
			}
			if got := reached(t, c, who); got != tt.want {
				t.Errorf("reaches %q, want %q", got, tt.want)
			}
		})
	}
}

// TestConstrainedSteps: the way shows whom somebody acts as, by which rules, and what
// that one may.
func TestConstrainedSteps(t *testing.T) {
	c := shop()
	give(t, c, "shop", "User", "bob", "create pods/exec")
	give(t, c, "", "User", "ann", "impersonate:user-info authentication.k8s.io:users bob")
	give(t, c, "shop", "User", "ann", "impersonate-on:user-info:create pods/exec")
	e, ok, err := exposure.New(c).Path("user:ann", &c.Pods[0])
	if err != nil || !ok || len(e.Via) != 2 || len(e.Via[0].Grants) != 2 || len(e.Via[1].Grants) != 1 || e.Via[1].Edge != exposure.EdgeExec ||
		e.Via[0].To != "user:bob, as far as rule 1 of Role shop/r2 goes" {
		t.Errorf("%t %+v: %v", ok, e.Via, err)
	}
	if cut := exposure.New(c).Cut(nil, 3, nil); cut.Pairs != 4 || len(cut.Removals) == 0 || cut.Removals[0].Binding != "RoleBinding shop/r0" || cut.Removals[0].Closes != 4 {
		t.Errorf("%+v", cut)
	}
}
