package main

import (
	"math"
	"path/filepath"
	"testing"
)

func TestCompare(t *testing.T) {
	r := compare("x", "s", []float64{1.02, 2.04, 3.3}, []float64{1, 2, 3}, 1.03)
	if !r.OK || math.Abs(*r.Ratio-1.02) > 1e-9 {
		t.Errorf("%+v: the ratio is the median of pairs", r)
	}
	if compare("x", "s", []float64{1.04}, []float64{1}, 1.03).OK {
		t.Error("1.04 passes a limit of 1.03")
	}
	if q := quantile([]float64{4, 1, 3, 2}, 0.5); q != 2.5 {
		t.Errorf("median = %v", q)
	}
}

func TestWriteMergesByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b", "bench.json")
	for _, rows := range [][]row{{{Name: "a", Value: 1}, {Name: "b", Value: 2}}, {{Name: "b", Value: 3}}} {
		if err := write(path, rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(path, nil); err != nil {
		t.Fatal(err)
	}
}
