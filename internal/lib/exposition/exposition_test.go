package exposition_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/sallyport/sallyport/internal/lib/exposition"
)

const page = `# HELP hits_total Hits.
# TYPE hits_total counter
hits_total{code="200",name="a\"b\\c\nd"} 7
hits_total{} 1.5e+03 1700000000000
hits_total 2
hits_total_other{x="y"} 5
other nonsense
`

func find(text string, names ...string) (out []exposition.Sample, err error) {
	for s, err := range exposition.Find(strings.NewReader(text), names...) {
		if err != nil {
			return out, err
		}
		out = append(out, s)
	}
	return out, nil
}

func TestFind(t *testing.T) {
	got, err := find(page+"hits_total{long=\""+strings.Repeat("x", 9<<10)+"\"} 9\nhits_total 3", "hits_total", "none")
	want := []exposition.Sample{
		{Name: "hits_total", Labels: map[string]string{"code": "200", "name": "a\"b\\c\nd"}, Value: 7},
		{Name: "hits_total", Labels: map[string]string{}, Value: 1500},
		{Name: "hits_total", Value: 2},
		{Name: "hits_total", Value: 3},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{
		`hits_total{a="b" 1`, `hits_total{a="b\`, `hits_total{a="\x"} 1`, `hits_total{a="1",a="2"} 1`, `hits_total{a=b} 1`, `hits_total `, `hits_total x`, `hits_total 1 2 3`,
	} {
		if got, err := find(bad+"\n", "hits_total"); !errors.Is(err, exposition.ErrForm) {
			t.Errorf("%s: %+v, %v", bad, got, err)
		}
	}
}

// FuzzFind: what the whole parser reads of a page, Find finds.
func FuzzFind(f *testing.F) {
	f.Add(page)
	f.Add("hits_total{a=\"b\"} NaN\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := find(text, "hits_total")
		parser := expfmt.NewTextParser(model.LegacyValidation)
		all, perr := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil || perr != nil || all["hits_total"] == nil || len(text) > 8<<10 {
			return
		}
		family := all["hits_total"].GetMetric()
		if len(got) != len(family) {
			return // spaces where the form allows them and nobody puts them; types that change meaning
		}
		for i, m := range family {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
			if m.GetSummary() != nil || m.GetHistogram() != nil {
				continue
			}
			if v != got[i].Value && !(math.IsNaN(v) && math.IsNaN(got[i].Value)) || len(m.GetLabel()) != len(got[i].Labels) {
				t.Errorf("%q: got %+v, want %v", text, got[i], m)
			}
			for _, l := range m.GetLabel() {
				if got[i].Labels[l.GetName()] != l.GetValue() {
					t.Errorf("%q: label %s is %q, want %q", text, l.GetName(), got[i].Labels[l.GetName()], l.GetValue())
				}
			}
		}
	})
}
