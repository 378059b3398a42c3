package truth

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Title says in a line what the mode of a result is.
func (r Result) Title() string {
	if slices.Contains([]Mode{Always, Auto, Off}, r.Mode) {
		return "--client-requests " + string(r.Mode)
	}
	return string(r.Mode)
}

// Print writes the table of one mode for a person.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.Title())
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tdone\tfound\texact\tstrong\tset\tnone\twrong\tmisfiled\tunexplained\t")
	for _, row := range append(r.Rows, r.Total) {
		name := string(row.Door)
		if name == "" {
			name = "all"
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, row.Deeds, row.Found,
			row.Exact, row.Strong, row.Set, row.None, row.Wrong, row.Misfiled, row.Unexplained)
	}
	tw.Flush()
	for _, q := range r.Requirements {
		verdict := "ok"
		if !q.OK {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "  %-6s  %s: %.4g%s (required: %s)\n", verdict, q.Name, q.Value, q.Unit, q.Target)
	}
}
