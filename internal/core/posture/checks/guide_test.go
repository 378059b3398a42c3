package checks

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// TestGuideHasTheFormula holds what docs/guide/scan.md publishes of severities to what
// is computed: the table of factors, and from where a score is called what.
func TestGuideHasTheFormula(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/guide/scan.md")
	if err != nil {
		t.Fatal(err)
	}
	v := func(f Factor) string { return strconv.FormatFloat(f.Value, 'g', -1, 64) }
	by := func(a ...exposure.Actor) string { return v(who(a)) }
	public := func(is inventory.Answer, ranges ...string) string {
		return v(exposed(&inventory.Cluster{APIServer: &inventory.APIServer{Public: is, Ranges: ranges}}))
	}
	if by("group:a") != by("serviceaccount:a/b") || by(exposure.Anyone) != by("group:system:serviceaccounts") || public(inventory.Unknown) != public(inventory.Yes, "192.0.2.0/24") ||
		v(exposed(&inventory.Cluster{})) != public(inventory.Unknown) || v(privilege(exposure.Spread{}, exposure.EdgeExec)) != v(privilege(exposure.Spread{}, exposure.EdgeAttach)) {
		t.Error("the guide takes for one what is not")
	}
	lines := []string{
		fmt.Sprintf("every pod %s · half or more %s · a tenth or more %s · fewer %s · none now %s", v(reach(20, 20)), v(reach(10, 20)), v(reach(2, 20)), v(reach(1, 20)), v(reach(0, 20))),
		fmt.Sprintf("cluster administrator %s · root on a node %s · as the container is (exec, attach) %s · other %s",
			v(privilege(exposure.Spread{Everything: true, Node: true}, "")), v(privilege(exposure.Spread{Node: true}, "")), v(privilege(exposure.Spread{}, exposure.EdgeExec)), v(privilege(exposure.Spread{}, exposure.EdgeMint))),
		fmt.Sprintf("anonymous %s · anyone, every service account %s · a group or service account %s · a named user %s · whoever gets into a pod, or has it without the binding %s",
			by(exposure.Anonymous, "user:a"), by(exposure.Anyone), by("group:a", "user:a"), by("user:a"), v(entrant)),
		fmt.Sprintf("public %s · public for some addresses, or unknown %s · not public %s", public(inventory.Yes), public(inventory.Unknown), public(inventory.No)),
		"`10 × reach × privilege × who × exposure`, at most 10",
	}
	for _, want := range lines {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/guide/scan.md does not say %q", want)
		}
	}
	if s := newScore(Factor{Value: 2}, Factor{Value: 0.8}); s.Value != 10 {
		t.Errorf("%v is more than 10", s.Value)
	}
	says := strings.Join(strings.Fields(string(text)), " ")
	if !strings.Contains(says, "From 9 it is critical, from 7 high, from 4 medium, else low.") {
		t.Error("docs/guide/scan.md does not say from where a score is called what")
	}
	for score, want := range map[float64]finding.Severity{10: finding.Critical, 9: finding.Critical, 8.9: finding.High, 7: finding.High, 6.9: finding.Medium, 4: finding.Medium, 3.9: finding.Low, 0: finding.Low} {
		if got := (Score{Value: score}).Severity(); got != want {
			t.Errorf("%.1f is %s", score, got)
		}
	}
}
