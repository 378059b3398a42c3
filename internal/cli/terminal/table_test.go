package terminal_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/terminal"
)

// TestLongCell: where no terminal sets the width a long cell is whole, and makes no
// other row longer.
func TestLongCell(t *testing.T) {
	long := strings.Repeat("x", 1000)
	table := terminal.Table{
		Columns: []terminal.Column{{Title: "ID"}, {Title: "COMMAND", Least: 8}, {Title: "STATE"}},
		Rows: [][]terminal.Cell{
			{{Text: "a"}, {Text: "ls"}, {Text: "exit 0"}},
			{{Text: "b"}, {Text: long}, {Text: "exit 1"}},
			{{Text: "c"}, {}, {Text: "exit 2"}},
		},
	}
	var out strings.Builder
	if err := table.Write(&out, 0, terminal.Palette{}); err != nil {
		t.Fatal(err)
	}
	blanks := strings.Repeat(" ", 162) // the widest that a column is kept, and the gap
	want := "ID  COMMAND" + blanks[7:] + "STATE\n" +
		"a   ls" + blanks[2:] + "exit 0\n" +
		"b   " + long + "  exit 1\n" +
		"c   " + blanks + "exit 2\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestNarrow: the room of a column that is left out goes to those that were shortened.
func TestNarrow(t *testing.T) {
	table := terminal.Table{
		Columns: []terminal.Column{{Title: "ID"}, {Title: "STARTED", Drop: 1}, {Title: "COMMAND", Least: 8}},
		Rows:    [][]terminal.Cell{{{Text: "a1"}, {Text: "12-01 10:45:14"}, {Text: "cat /etc/hostname"}}},
	}
	for width, want := range map[int]string{
		37: "ID  STARTED         COMMAND\na1  12-01 10:45:14  cat /etc/hostname\n",
		28: "ID  STARTED         COMMAND\na1  12-01 10:45:14  cat /et…\n",
		27: "ID  COMMAND\na1  cat /etc/hostname\n",
		14: "ID  COMMAND\na1  cat /etc/…\n",
	} {
		var out strings.Builder
		if err := table.Write(&out, width, terminal.Palette{}); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != want {
			t.Errorf("%d columns: got\n%swant\n%s", width, got, want)
		}
	}
}
