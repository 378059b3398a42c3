package report

import (
	"encoding/json"
	"io"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
	"github.com/sallyport/sallyport/internal/core/posture/checks"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/gain"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/scan/baseline"
	"github.com/sallyport/sallyport/internal/scan/waiver"
)

// coverageLine is the last line of a report in JSON.
type coverageLine struct {
	Folded  int                 `json:"folded"` // by what every new cluster has
	NotRead []checks.Gap        `json:"not_read"`
	Skipped []inventory.Skipped `json:"skipped"`
	// Undecided are checks of settings that nobody could tell.
	Undecided []posture.Open `json:"undecided"`
}

// findingLine is a finding as a line of a report in JSON.
type findingLine struct {
	finding.Finding
	Score  float64         `json:"score"`
	Path   []exposure.Step `json:"path,omitempty"` // of a pod that leads on
	Waived *waiver.Waiver  `json:"waived,omitempty"`
	Change baseline.Change `json:"change,omitempty"` // with a baseline: new, worse or same
}

// getsLine is a line of a report in JSON about a container.
type getsLine struct {
	Gets gain.Container `json:"gets"`
}

// lastLine is the last line of a report in JSON.
type lastLine struct {
	Coverage coverageLine  `json:"coverage"`
	Baseline *baselineLine `json:"baseline,omitempty"`
}

// baselineLine says what a baseline had, and is not there any more.
type baselineLine struct {
	Gone []baseline.Known `json:"gone"`
	// NotReadNow are parts that were read for the baseline, and not now: what they
	// would tell of seems gone.
	NotReadNow []inventory.Part `json:"not_read_now"`
}

// WriteJSON writes a report as JSON: a finding to a line, then what a command gets in
// each container, and last what was not looked at.
func WriteJSON(w io.Writer, r *Result) error {
	paths := r.Paths()
	for n := range r.Found {
		f := &r.Found[n]
		if err := writeLine(w, findingLine{f.Finding, f.Score.Value, paths[n], r.Waived[n], r.Change(n)}); err != nil {
			return err
		}
	}
	for _, c := range gain.All(r.Inventory) {
		if err := writeLine(w, getsLine{c}); err != nil {
			return err
		}
	}
	last := lastLine{Coverage: coverageLine{
		r.Folded, append([]checks.Gap{}, r.Gaps...), append([]inventory.Skipped{}, r.Inventory.Skipped...), append([]posture.Open{}, r.Open...),
	}}
	if r.before != nil {
		last.Baseline = &baselineLine{append([]baseline.Known{}, r.Gone...), append([]inventory.Part{}, r.ReadNow...)}
	}
	return writeLine(w, last)
}

func writeLine(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(printable.JSON(body), '\n'))
	return err
}
