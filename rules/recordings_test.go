package rules_test

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/hostlog/winevent"
	"github.com/sallyport/sallyport/internal/kube/audit/export"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store/capture"
	"github.com/sallyport/sallyport/testbed/procedures"
)

const recordings = "testdata/procedures"

// TestProceduresRecorded plays the recordings of the five procedures to the
// engine and the pack three times: with what services tell only, with what the
// kernel tells of processes only, and with everything. What is found is compared
// with findings.txt. Each procedure must be found by both halves alone, and
// nothing may be said of its neighbours.
func TestProceduresRecorded(t *testing.T) {
	set := load(t, pack(t, false))
	table, err := procedures.ReadTable(filepath.Join(recordings, "findings.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, all := range readRecordings(t) {
		procedure, _, _ := strings.Cut(name, "-")
		for _, source := range procedures.Sources {
			t.Run(name+"/"+string(source), func(t *testing.T) {
				found := review(t, set, procedures.Only(source, all))
				var ids []string
				for _, f := range found {
					ids = append(ids, f.Rule)
				}
				slices.Sort(ids)
				ids = slices.Compact(ids)
				if !slices.Equal(ids, table[name][source]) {
					t.Errorf("findings.txt has\n%s\nfound is\n%s", procedures.Row(name, source, table[name][source]), procedures.Row(name, source, ids))
				}
				if len(procedures.Named(procedure, ids)) == 0 {
					t.Errorf("no rule of %s finds it by %s", procedure, source)
				}
				spareNeighbours(t, found, procedures.Containers(all))
			})
		}
		delete(table, name)
	}
	for name := range table {
		t.Errorf("findings.txt has a recording %q that does not exist", name)
	}
}

func spareNeighbours(t *testing.T, found []finding.Finding, names map[event.ContainerID]string) {
	t.Helper()
	if len(names) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(names)), procedures.Neighbour) {
		t.Error("the recording has no neighbour")
	}
	for _, f := range found {
		if procedures.OfOne(f.Rule) && procedures.AboutNeighbour(f, names) {
			t.Errorf("%s is said of a neighbour: %s", f.Rule, f.Message)
		}
	}
}

// readRecordings returns the observations of each recording.
func readRecordings(t *testing.T) map[string][]event.Observation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordings, "*.capture.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	out := map[string][]event.Observation{"siloscape-windows": readLogs(t, filepath.Join(recordings, "siloscape-windows.txtar"))}
	for _, file := range files {
		r, err := capture.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		var all []event.Observation
		for o, err := range r.All() {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, o)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(file), ".capture.zst")] = all
	}
	return out
}

// readLogs returns what replay makes of other tools' logs, in order of time.
func readLogs(t *testing.T, file string) []event.Observation {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []event.Observation
	for _, f := range ar.Files {
		var r interface {
			Record(data []byte) ([]event.Observation, error)
		} = winevent.New()
		if f.Name == "audit.log" {
			r = export.New(export.Native)
		}
		for line := range bytes.Lines(f.Data) {
			out, err := r.Record(bytes.TrimSpace(line))
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			all = append(all, out...)
		}
	}
	slices.SortStableFunc(all, func(a, b event.Observation) int { return a.Head().Time.Compare(b.Head().Time) })
	return all
}

// review plays observations to the engine, and its sessions to the pack.
func review(t *testing.T, set *policy.Set, all []event.Observation) []finding.Finding {
	t.Helper()
	rules := policy.NewEngine(set)
	var found []finding.Finding
	input := func(yield func(event.Observation, error) bool) {
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
	}
	if _, err := replay.Play(input, correlate.Options{}, func(r session.Revision) error {
		found = append(found, rules.Observe(r.Session)...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return append(found, rules.Flush()...)
}
