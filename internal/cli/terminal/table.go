package terminal

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/lib/printable"
)

// Column is one column of a table.
type Column struct {
	Title string
	// Least is how far the column may shrink when the table is wider than the
	// terminal; 0: it never shrinks.
	Least int
	// Drop orders the columns that are left out when shrinking is not enough:
	// 1 goes first; 0 never goes.
	Drop int
}

// Cell is the text of a cell, already fit to be shown, and how it is styled.
type Cell struct {
	Text  string
	Style Style
}

// Table lays out rows so that they fit a width.
type Table struct {
	Columns []Column
	Rows    [][]Cell
}

// CellMax bounds a cell where no terminal sets the width, and alignMax how far a long
// one there moves the next column of all other rows.
const (
	CellMax  = 4096
	alignMax = 160
)

// gap is the space between columns.
const gap = "  "

// Write prints the table at most width columns wide; 0 means any width.
func (t *Table) Write(w io.Writer, width int, p Palette) error {
	widths := t.fit(width)
	least := 0 // how long a cell may be, whatever the width of its column
	if width <= 0 {
		least = CellMax
	}
	var b bytes.Buffer
	header := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		header[i] = Cell{c.Title, Dim}
	}
	for _, row := range append([][]Cell{header}, t.Rows...) {
		writeRow(&b, row, widths, least, p)
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		b.Reset()
	}
	return nil
}

func writeRow(b *bytes.Buffer, row []Cell, widths []int, least int, p Palette) {
	column, at := 0, 0 // where the next cell is to begin, and where the line ends now
	for i, c := range row {
		if widths[i] == 0 {
			continue
		}
		if text := printable.Cut(c.Text, max(widths[i], least)); text != "" {
			begins := column
			if at > 0 {
				begins = max(column, at+len(gap))
			}
			b.WriteString(strings.Repeat(" ", begins-at))
			b.WriteString(p.Paint(c.Style, text))
			at = begins + printable.Width(text)
		}
		column += widths[i] + len(gap)
	}
	b.WriteByte('\n')
}

// fit returns the width of each column, 0 for one that is left out. What a column that
// is left out would have taken is for the others.
func (t *Table) fit(width int) []int {
	full := t.full(width)
	if width <= 0 {
		return full
	}
	for {
		widths := slices.Clone(full)
		for total(widths) > width && t.shrink(widths, total(widths)-width) {
		}
		if total(widths) <= width || !t.leaveOut(full) {
			return widths
		}
	}
}

// full returns the width that each column has where nothing is short of room.
func (t *Table) full(width int) []int {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		for _, row := range t.Rows {
			widths[i] = max(widths[i], printable.Width(row[i].Text))
		}
		if widths[i] > 0 { // a column without a single value is left out
			widths[i] = min(max(widths[i], len(c.Title)), CellMax)
		}
		if width <= 0 {
			widths[i] = min(widths[i], alignMax)
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
func (t *Table) shrink(widths []int, excess int) bool {
	widest, second := -1, 0
	for i, c := range t.Columns {
		if c.Least == 0 || widths[i] <= c.Least {
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
	step := max(1, min(excess, widths[widest]-max(second, t.Columns[widest].Least)))
	widths[widest] -= step
	return true
}

func (t *Table) leaveOut(widths []int) bool {
	first := -1
	for i, c := range t.Columns {
		if c.Drop > 0 && widths[i] > 0 && (first < 0 || c.Drop < t.Columns[first].Drop) {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	widths[first] = 0
	return true
}
