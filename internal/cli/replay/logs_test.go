package replay

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/corpus/story"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
)

// TestLogStories replays the stories of corpus/logs, records of other tools as
// those write them, and compares the sessions and what is said of the files with
// what the story says.
func TestLogStories(t *testing.T) {
	files, err := filepath.Glob("../../../corpus/logs/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d stories, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { tellLogs(t, file) })
	}
}

func tellLogs(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(ar.Comment)) == 0 {
		t.Error("a story begins with a comment for people")
	}
	dir := t.TempDir()
	args := []string{"--json"}
	var want [][]byte
	said := ""
	for _, f := range ar.Files {
		switch f.Name {
		case "sessions.jsonl":
			want = bytes.Split(bytes.TrimSpace(f.Data), []byte("\n"))
		case "stderr":
			said = string(f.Data)
		case "flags":
			args = append(args, strings.Fields(string(f.Data))...)
		default:
			name := filepath.Join(dir, f.Name)
			if err := os.WriteFile(name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, name)
		}
	}
	out, errs := tellReplay(t, args)
	if got := strings.ReplaceAll(errs, dir+string(filepath.Separator), ""); got != said {
		t.Errorf("standard error:\n%s\nwant:\n%s", got, said)
	}
	compareLogs(t, want, out)
	if t.Failed() {
		t.Logf("the story:\n%s", ar.Comment)
	}
}

// tellReplay runs "sallyport replay ARGS" and returns both of its outputs.
func tellReplay(t *testing.T, args []string) (out []byte, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := &terminal.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	cmd := New(env)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	exit.Report(&stderr, cmd.ExecuteContext(t.Context()), true)
	return stdout.Bytes(), stderr.String()
}

// compareLogs compares sessions, one JSON object a line, with expectations: each
// met by a session of its own, and no session more.
func compareLogs(t *testing.T, want [][]byte, out []byte) {
	t.Helper()
	var got []any
	for line := range bytes.Lines(out) {
		var v any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		got = append(got, v)
	}
	all := slices.Clone(got)
	for n, line := range want {
		if len(line) == 0 {
			continue
		}
		var w any
		if err := json.Unmarshal(line, &w); err != nil {
			t.Fatalf("session %d: %v", n+1, err)
		}
		i := slices.IndexFunc(got, func(g any) bool { return story.Diff(w, g, "") == "" })
		if i < 0 {
			nearest := "there is none left"
			if len(got) > 0 {
				nearest = story.Diff(w, got[0], "")
			}
			t.Errorf("no session is as the story says in line %d: %s", n+1, nearest)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 && !t.Failed() {
		t.Errorf("%d sessions more than the story has", len(got))
	}
	if t.Failed() {
		for _, g := range all {
			b, _ := json.MarshalIndent(g, "", "  ")
			t.Logf("session:\n%s", b)
		}
	}
}
