package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// row is one figure. Baseline and Ratio belong to comparisons; Target is in
// words, and OK says whether it was reached (rows without a target are ok).
type row struct {
	Name     string   `json:"name"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Baseline *float64 `json:"baseline,omitempty"`
	Ratio    *float64 `json:"ratio,omitempty"`
	// Spread is how far the ratios of the rounds lie apart: half the distance
	// between the quartiles. A ratio that differs from 1 by less says nothing.
	Spread *float64 `json:"spread,omitempty"`
	Target string   `json:"target,omitempty"`
	OK     bool     `json:"ok"`
	Note   string   `json:"note,omitempty"`
}

// compare makes a row of paired rounds: with[i] was measured right beside
// without[i]. The ratio is the median of the pairs' ratios. It is ok up to
// limit; a limit of 0 is no target.
func compare(name, unit string, with, without []float64, limit float64) row {
	ratios := make([]float64, len(with))
	for i := range with {
		ratios[i] = with[i] / without[i]
	}
	base, ratio := median(without), median(ratios)
	spread := (quantile(ratios, 0.75) - quantile(ratios, 0.25)) / 2
	r := row{Name: name, Value: median(with), Unit: unit, Baseline: &base, Ratio: &ratio, Spread: &spread, OK: true}
	if limit > 0 {
		r.Target = fmt.Sprintf("ratio <= %.3g", limit)
		r.OK = ratio <= limit
	}
	return r
}

// atMost makes a row of one figure with an upper bound.
func atMost(name string, value float64, unit string, limit float64) row {
	return row{Name: name, Value: value, Unit: unit, Target: fmt.Sprintf("<= %.3g", limit), OK: value <= limit}
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile interpolates linearly between the closest ranks.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 == len(s) {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// write merges rows into a JSON file: rows of other names stay, so that every
// part of the benchmark can be run alone.
func write(path string, rows []row) error {
	var all []row
	if b, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(b, &all); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	for _, r := range rows {
		if i := slices.IndexFunc(all, func(o row) bool { return o.Name == r.Name }); i >= 0 {
			all[i] = r
		} else {
			all = append(all, r)
		}
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// print writes the table for a person.
func print(w io.Writer, rows []row) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\twithout\twith\t\tratio\t±\ttarget\t")
	for _, r := range rows {
		base, ratio, spread := "", "", ""
		if r.Baseline != nil {
			base, ratio, spread = fmt.Sprintf("%.4g", *r.Baseline), fmt.Sprintf("%.3f", *r.Ratio), fmt.Sprintf("%.3f", *r.Spread)
		}
		verdict := ""
		if r.Target != "" {
			verdict = r.Target + " ok"
			if !r.OK {
				verdict = r.Target + " MISSED"
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%.4g\t%s\t%s\t%s\t%s\t%s\n", r.Name, base, r.Value, r.Unit, ratio, spread, verdict, r.Note)
	}
	tw.Flush()
}
