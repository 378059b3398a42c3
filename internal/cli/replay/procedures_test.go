package replay

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/finding"
)

// TestReplayFindsSiloscape gives replay the logs of two Windows nodes and of an
// API server, as a person would: each kind of log has it found.
func TestReplayFindsSiloscape(t *testing.T) {
	ar, err := txtar.ParseFile("../../../rules/testdata/procedures/siloscape-windows.txtar")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"sysmon.xml": "siloscape-process", "security.ndjson": "siloscape-process", "audit.log": "siloscape-deploys",
	}
	for _, f := range ar.Files {
		t.Run(f.Name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), f.Name)
			if err := os.WriteFile(name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs := tellReplay(t, []string{"--json", "--rules", "../../../rules", name})
			var rules []string
			for line := range strings.Lines(string(out)) {
				var v struct{ Finding *finding.Finding }
				if err := json.Unmarshal([]byte(line), &v); err != nil {
					t.Fatal(err)
				}
				if v.Finding != nil {
					rules = append(rules, v.Finding.Rule)
				}
			}
			if !slices.Contains(rules, want[f.Name]) {
				t.Errorf("found %q, want %s; %s", rules, want[f.Name], errs)
			}
		})
	}
}
