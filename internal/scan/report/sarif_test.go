package report_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan/report"
	"github.com/sallyport/sallyport/testbed/clusters"
)

// TestSARIFIsValid holds the log of a random cluster to the schema of SARIF 2.1.0.
func TestSARIFIsValid(t *testing.T) {
	size := clusters.Size{Seed: 1, Pods: 40, Namespaces: 5, Nodes: 4, Accounts: 15, Roles: 40, Bindings: 60, Users: 10}
	i := &inventory.Inventory{
		Hosts: []inventory.Host{{Name: "h", Listeners: []inventory.Listener{
			{Service: inventory.ServiceDocker, Address: "192.0.2.1:2375", TLS: inventory.No, ClientCert: inventory.No},
		}}},
		Cluster: size.Cluster(), Unread: []inventory.Unread{{What: inventory.PartKubelet, From: "prod", Why: "forbidden"}},
		Skipped: []inventory.Skipped{{Origin: inventory.Origin{Source: "a b.yaml", Line: 3}, Why: "broken"}},
	}
	for n := range i.Cluster.Bindings {
		i.Cluster.Bindings[n].Origin = inventory.Origin{Source: "deploy/a b.yaml", Line: n + 1}
	}
	r := report.New(i, exposure.New(i.Cluster), nil, nil, time.Time{})
	if len(r.Found) < 10 {
		t.Fatalf("%d findings are too few to tell", len(r.Found))
	}
	log := report.SARIF(r, "1.2.3")
	if err := log.Validate(); err != nil {
		t.Error(err)
	}
	run := log.Runs[0]
	if len(run.Results) != len(r.Found) || len(run.Invocations[0].ToolExecutionNotifications) != 2 {
		t.Errorf("%d results of %d findings", len(run.Results), len(r.Found))
	}
	if !slices.ContainsFunc(r.Found, func(f checks.Found) bool { return f.Rule == "SP-DKR-001" }) {
		t.Error("no finding of a setting is in it")
	}
	for n, result := range run.Results {
		if rule := run.Tool.Driver.Rules[result.RuleIndex]; *rule.ID != r.Found[n].Rule {
			t.Errorf("result %d is of %s and points to %s", n, r.Found[n].Rule, *rule.ID)
		}
	}
}
