package sessions_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/sessions"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store"
)

// TestFindingsOfASessionThatIsGone: retention takes sessions before findings, and what
// was found is still listed by the whole id.
func TestFindingsOfASessionThatIsGone(t *testing.T) {
	const gone = session.ID("zfk3n4yr3h1cqt0g")
	dir := t.TempDir()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := finding.Finding{ID: "a2a2a2a2a2a2a2a2", Rule: "shell", Severity: finding.High, Time: time.Now().UTC(), Session: gone}
	if _, err := st.Append(t.Context(), store.Batch{Findings: []finding.Finding{f}}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	list := func(id session.ID) (string, error) {
		var out strings.Builder
		cmd := sessions.NewFindings(&terminal.Env{Stdout: &out, Stderr: io.Discard, Getenv: func(string) string { return "" }})
		cmd.SetArgs([]string{"--state", dir, "--session", string(id)})
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := list(gone); err != nil || !strings.Contains(out, "shell") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := list("zfk3n4yr3h1cqt0h"); err == nil {
		t.Errorf("an id that nobody has is listed: %s", out)
	}
}
