package exit_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/exit"
)

// TestReportPermission: what the host does not permit has the exit status that help
// gives it, and says who may unless that is who asks.
func TestReportPermission(t *testing.T) {
	var said strings.Builder
	err := fmt.Errorf("open store: %w", &fs.PathError{Op: "stat", Path: "/state/sallyport.db", Err: fs.ErrPermission})
	if got := exit.Report(&said, err, true); got != exit.Usage {
		t.Errorf("exit status %d, want %d", got, exit.Usage)
	}
	want := "sallyport: open store: stat /state/sallyport.db: permission denied\n"
	if os.Geteuid() > 0 {
		want += "Try: run it as root\n"
	}
	if got := strings.Replace(said.String(), fs.ErrPermission.Error(), "permission denied", 1); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
}

// TestCutShort: a list that somebody interrupted is not all there is.
func TestCutShort(t *testing.T) {
	if err := exit.CutShort(nil); err != nil {
		t.Errorf("nothing happened: %v", err)
	}
	var said strings.Builder
	if got := exit.Report(&said, exit.CutShort(fmt.Errorf("read sessions: %w", context.Canceled)), true); got != exit.Incomplete {
		t.Errorf("interrupted: exit status %d and %q, want %d", got, said.String(), exit.Incomplete)
	}
}

// TestReportInterrupted: a person who presses Ctrl-C is not told of a context.
func TestReportInterrupted(t *testing.T) {
	var said strings.Builder
	err := fmt.Errorf("list pods: %w", context.Canceled)
	if got := exit.Report(&said, err, true); got != exit.Incomplete || said.String() != "sallyport: interrupted\n" {
		t.Errorf("exit status %d and %q, want %d and that it was interrupted", got, said.String(), exit.Incomplete)
	}
}
