package cli

import (
	"bytes"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// column is one column of a table.
type column struct {
	title string
	// least is how far the column may shrink when the table is wider than the
	// terminal; 0: it never shrinks.
	least int
	// drop orders the columns that are left out when shrinking is not enough:
	// 1 goes first; 0 never goes.
	drop int
}

// cell is the text of a cell, already fit to be shown, and how it is styled.
type cell struct {
	text  string
	style style
}

// table lays out rows so that they fit a width.
type table struct {
	columns []column
	rows    [][]cell
}

// cellMax bounds a cell where no terminal sets the width.
const cellMax = 4096

// gap is the space between columns.
const gap = "  "

// write prints the table at most width columns wide; 0 means any width.
func (t *table) write(w io.Writer, width int, p palette) error {
	widths := t.fit(width)
	var b bytes.Buffer
	header := make([]cell, len(t.columns))
	for i, c := range t.columns {
		header[i] = cell{c.title, styleDim}
	}
	for _, row := range append([][]cell{header}, t.rows...) {
		writeRow(&b, row, widths, p)
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		b.Reset()
	}
	return nil
}

func writeRow(b *bytes.Buffer, row []cell, widths []int, p palette) {
	column, at := 0, 0 // where the next cell begins, and where the line ends now
	for i, c := range row {
		if widths[i] == 0 {
			continue
		}
		if text := printable.Cut(c.text, widths[i]); text != "" {
			b.WriteString(strings.Repeat(" ", column-at))
			b.WriteString(p.paint(c.style, text))
			at = column + printable.Width(text)
		}
		column += widths[i] + len(gap)
	}
	b.WriteByte('\n')
}

// fit returns the width of each column, 0 for one that is left out.
func (t *table) fit(width int) []int {
	widths := make([]int, len(t.columns))
	for i, c := range t.columns {
		for _, row := range t.rows {
			widths[i] = max(widths[i], printable.Width(row[i].text))
		}
		if widths[i] > 0 { // a column without a single value is left out
			widths[i] = min(max(widths[i], len(c.title)), cellMax)
		}
	}
	if width <= 0 {
		return widths
	}
	for total(widths) > width {
		if !t.shrink(widths, total(widths)-width) && !t.leaveOut(widths) {
			break
		}
	}
	return widths
}

func total(widths []int) int {
	sum := -len(gap)
	for _, w := range widths {
		if w > 0 {
			sum += w + len(gap)
		}
	}
	return sum
}

// shrink takes excess from the widest column that may shrink, down to the next
// widest.
func (t *table) shrink(widths []int, excess int) bool {
	widest, second := -1, 0
	for i, c := range t.columns {
		if c.least == 0 || widths[i] <= c.least {
			continue
		}
		if widest < 0 || widths[i] > widths[widest] {
			if widest >= 0 {
				second = max(second, widths[widest])
			}
			widest = i
		} else {
			second = max(second, widths[i])
		}
	}
	if widest < 0 {
		return false
	}
	step := max(1, min(excess, widths[widest]-max(second, t.columns[widest].least)))
	widths[widest] -= step
	return true
}

func (t *table) leaveOut(widths []int) bool {
	first := -1
	for i, c := range t.columns {
		if c.drop > 0 && widths[i] > 0 && (first < 0 || c.drop < t.columns[first].drop) {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	widths[first] = 0
	return true
}
