package truth

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Print writes the table of one mode for a person.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "\n--client-requests %s\n", r.Mode)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "\tdone\tfound\texact\tstrong\tset\tnone\twrong\tmisfiled\t")
	for _, row := range append(r.Rows, r.Total) {
		name := string(row.Door)
		if name == "" {
			name = "all"
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, row.Deeds, row.Found,
			row.Exact, row.Strong, row.Set, row.None, row.Wrong, row.Misfiled)
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
