package scan

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/scan"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/program"
)

// onItsOwn is the answer where nothing stands before it; the analysis may show or not.
var onItsOwn = regexp.MustCompile(`(\x1b\[K|\n)0 findings`)

// TestProgressOnATerminal holds a scan up half-way in a snapshot: on a terminal it says
// what takes so long, and takes that away before it answers; elsewhere it says nothing.
func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	var snapshot bytes.Buffer
	pod := inventory.Pod{Object: inventory.Object{Namespace: "shop", Name: "web"}}
	if err := scan.Write(&snapshot, &inventory.Inventory{Cluster: &inventory.Cluster{Pods: []inventory.Pod{pod}}}, "test", nil); err != nil {
		t.Fatal(err)
	}
	bin := program.New(t)
	for _, terminal := range []bool{true, false} {
		pipe := filepath.Join(t.TempDir(), "slow.scan")
		if err := unix.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), bin, "scan", "--from", pipe, "--fail-on", "never")
		out := output(t, cmd, terminal)
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the reader
		if err != nil {
			t.Fatal(err)
		}
		half := snapshot.Len() / 2
		if _, err := w.Write(snapshot.Bytes()[:half]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // a second until it shows, and some
		_, err = w.Write(snapshot.Bytes()[half:])
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(out)
		if err != nil && !errors.Is(err, syscall.EIO) { // the end of a terminal
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if terminal && (!strings.Contains(string(text), "\r\x1b[KReading "+pipe+"\r\x1b[K") || !onItsOwn.Match(text)) {
			t.Errorf("the terminal shows %q", text)
		}
		if !terminal && (strings.Contains(string(text), "\x1b") || strings.Contains(string(text), "Reading")) {
			t.Errorf("what is no terminal gets %q", text)
		}
	}
}

// output starts cmd, and returns all that it writes.
func output(t *testing.T, cmd *exec.Cmd, terminal bool) io.Reader {
	t.Helper()
	if terminal {
		master, err := testbed.StartTerminal(cmd, uint32(os.Getuid()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Close() })
		return master
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
