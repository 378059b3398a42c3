package rules_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
)

// TestGuideSuppresses takes the suppression of the guide: it holds for who, where
// and what it names, and for nobody else who types the same.
func TestGuideSuppresses(t *testing.T) {
	guide, err := os.ReadFile("../docs/guide/rule-pack.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(guide)
	if block == nil {
		t.Fatal("the guide has no suppression")
	}
	set := load(t, append(pack(t, false), policy.File{Name: "mine.yaml", Data: block[1]}))
	const monitor = "system:serviceaccount:monitoring:df"
	for name, tc := range map[string]struct {
		user, workload string
		argv           []string
		at             time.Time
		want           bool
	}{
		"as written":         {monitor, "StatefulSet/db", []string{"df", "-h"}, noon, false},
		"somebody else":      {"mallory", "StatefulSet/db", []string{"df", "-h"}, noon, true},
		"another workload":   {monitor, "StatefulSet/pay", []string{"df", "-h"}, noon, true},
		"another command":    {monitor, "StatefulSet/db", []string{"df", "-h", "/"}, noon, true},
		"one argument of it": {monitor, "StatefulSet/db", []string{"df -h"}, noon, true},
		"expired":            {monitor, "StatefulSet/db", []string{"df", "-h"}, noon.AddDate(1, 0, 0), true},
	} {
		t.Run(name, func(t *testing.T) {
			e := policy.NewEngine(set)
			var found []finding.Finding
			for i := range 5 {
				found = append(found, e.Observe(session.Session{
					ID: session.ID(fmt.Sprint("s", i)), Kind: session.KindExec, Channel: event.ChannelKubeExecWS, State: session.StateEnded,
					Started: tc.at.Add(time.Duration(i) * time.Second), Argv: tc.argv, ArgvSource: "request",
					Attribution: session.Attribution{Level: session.LevelStrong}, Actor: session.Actor{Kind: session.ActorKubernetes, User: tc.user},
					Target: session.Target{Namespace: "shop", Pod: fmt.Sprint("db-", i), Workload: tc.workload},
				})...)
			}
			if got := slices.ContainsFunc(found, func(f finding.Finding) bool { return f.Rule == "R9-fan-out" }); got != tc.want {
				t.Errorf("found: %v, want %v", got, tc.want)
			}
		})
	}
}

var noon = time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
