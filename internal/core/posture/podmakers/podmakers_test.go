package podmakers_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/core/posture/podmakers"
)

// TestTable: each kind is there once and is found by both of its names, and what applies
// others says who does.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range append(podmakers.Own, podmakers.Others...) {
		if seen[k.Name()] || k.Resource == "" || k.Kind == "" || (k.Gives == podmakers.Applied) != (k.Account != "") {
			t.Errorf("%+v", k)
		}
		seen[k.Name()] = true
	}
	for _, k := range podmakers.Others {
		r, n := podmakers.Resource(k.Group, k.Resource), podmakers.Named(k.Group, k.Kind)
		if r == nil || n == nil || *r != k || *n != k {
			t.Errorf("%+v is found as %+v and %+v", k, r, n)
		}
	}
	if podmakers.Resource("apps", "deployments") != nil || podmakers.Named("example.com", "Workflow") != nil {
		t.Error("what is not there is found")
	}
}
