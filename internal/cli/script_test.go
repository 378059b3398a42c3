package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/internal/store/capture"
)

func TestMain(m *testing.M) {
	main := func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){
		"sallyport":         main,
		"kubectl-sallyport": main,
	})
}

// TestScripts runs the specification of the command line, testdata/script.
func TestScripts(t *testing.T) {
	corpus, err := filepath.Abs("../../corpus")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"story":  func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(captureStory(corpus, ts, args)) },
			"keep":   func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(keepStory(corpus, ts, args)) },
			"damage": func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(damageFile(ts, args)) },
			"cut":    func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(cutFile(ts, args)) },
			"soon":   func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(nextMonth(ts, args)) },
			"record": func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(recordSessions(ts, args)) },
			"widths": func(ts *testscript.TestScript, _ bool, args []string) { ts.Check(narrowerThan(ts, args)) },
		},
	})
}

// captureStory is "story NAME FILE": a story of corpus/ as a capture.
func captureStory(corpus string, ts *testscript.TestScript, args []string) error {
	observations, err := readStory(corpus, args[0])
	if err != nil {
		return err
	}
	w, err := capture.Create(ts.MkAbs(args[1]), capture.Header{})
	if err != nil {
		return err
	}
	for _, o := range observations {
		if err := w.Write(o); err != nil {
			return err
		}
	}
	return w.Close()
}

// keepStory is "keep NAME DIR [RULES]": what a story comes to, in a state
// directory, with what rules find.
func keepStory(corpus string, ts *testscript.TestScript, args []string) error {
	observations, err := readStory(corpus, args[0])
	if err != nil {
		return err
	}
	st, err := openStore(ts.MkAbs(args[1]))
	if err != nil {
		return err
	}
	defer st.Close()
	var revisions []session.Revision
	input := func(yield func(event.Observation, error) bool) {
		for _, o := range observations {
			if !yield(o, nil) {
				return
			}
		}
	}
	keep := func(r session.Revision) error {
		revisions = append(revisions, r)
		return nil
	}
	if _, err := replay.Play(input, correlate.Options{}, keep); err != nil {
		return err
	}
	var found []finding.Finding
	if len(args) > 2 {
		if found, err = findBy(ts.MkAbs(args[2]), observations, revisions); err != nil {
			return err
		}
	}
	_, err = st.Append(context.Background(), store.Batch{Observations: observations, Revisions: revisions, Findings: found})
	return err
}

// findBy returns what rules find in a story.
func findBy(rules string, observations []event.Observation, revisions []session.Revision) (found []finding.Finding, err error) {
	set, err := ruleset.Load([]string{rules})
	if err != nil {
		return nil, err
	}
	engine := policy.NewEngine(set)
	for _, r := range revisions {
		found = append(found, engine.Observe(r.Session)...)
	}
	var now time.Time
	for _, o := range observations {
		found = append(found, engine.Hear(o)...)
		if t := o.Head().Time; t.After(now) {
			now = t
		}
	}
	return append(found, engine.Advance(now)...), nil
}

// openStore opens a store, and waits for its lock: a script beside this one that is
// just starting a program holds every open file of ours for a moment.
func openStore(dir string) (*store.Store, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		st, err := store.Open(dir, store.Options{})
		var locked *store.LockedError
		if !errors.As(err, &locked) || time.Now().After(deadline) {
			return st, err
		}
	}
}

// recordSessions is "record DIR [RECIPIENT]": recordings in a state directory,
// their ids in the variables TTY, PIPE and OPEN. PIPE is of the exec in the
// state directory, if there is one; OPEN has no end.
func recordSessions(ts *testscript.TestScript, args []string) (err error) {
	ctx, state := context.Background(), ts.MkAbs(args[0])
	st, err := openStore(state)
	if err != nil {
		return err
	}
	defer st.Close()
	conf := config.Config{State: state}
	if len(args) > 1 {
		conf.RecordingRecipients = args[1]
	}
	set, err := statedir.OpenRecordings(ctx, conf.State, conf.RecordingRecipients, st, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	uid := uint32(1000) // set stays open: OPEN is as a kill leaves it
	head := recording.Header{
		Kind: session.KindExec, Channel: "DK-EXEC", Actor: session.Actor{Kind: session.ActorUnix, User: "alice", UID: &uid},
		Target: session.Target{ContainerID: "c0ffee", ContainerName: "web"}, Argv: []event.Text{"sh", "-c", "ls \x1b[2J"},
	}
	one := func(name string, tty bool, end bool, text string) error {
		h := head
		if h.TTY = tty; tty {
			h.Cols, h.Rows = 100, 30
		}
		for s, err := range st.Sessions(ctx, store.Query{}) {
			if err == nil && !tty && s.ExecID != "" {
				h.Exec, h.Target = s.ExecID, s.Target
			}
		}
		rec, err := set.Begin(ctx, h)
		if err != nil {
			return err
		}
		ts.Setenv(name, rec.ID())
		err = errors.Join(rec.Write(recording.Stdout, []byte(text)), rec.Flush())
		if code := 3; end {
			return errors.Join(err, rec.Skip(recording.Stdout, 12, "not wanted"), rec.End(ctx, recording.End{Exit: &code}))
		}
		return err
	}
	return errors.Join(one("TTY", true, true, "\x1b[31mred\x1b[0m\r\n"), one("PIPE", false, true, "plain\x1b[31m\n"), one("OPEN", true, false, "half\r\n"))
}

func readStory(corpus, name string) ([]event.Observation, error) {
	data, err := os.ReadFile(filepath.Join(corpus, name+".txtar"))
	if err != nil {
		return nil, err
	}
	var out []event.Observation
	for line := range bytes.Lines(bytes.TrimSpace(txtar.Parse(data).Files[0].Data)) {
		o, err := event.Unmarshal(line)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// damageFile is "damage FILE TEXT": the last occurrence of TEXT is overwritten.
func damageFile(ts *testscript.TestScript, args []string) error {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	at := bytes.LastIndex(data, []byte(args[1]))
	if at < 0 {
		return fmt.Errorf("%s does not hold %q", args[0], args[1])
	}
	data[at] ^= 0xff
	return os.WriteFile(file, data, 0o600)
}

// nextMonth is "soon FILE": SOON in it becomes a day a month ahead.
func nextMonth(ts *testscript.TestScript, args []string) error {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	day := time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)
	return os.WriteFile(file, bytes.ReplaceAll(data, []byte("SOON"), []byte(day)), 0o600)
}

// cutFile is "cut FILE N": its first N bytes.
func cutFile(ts *testscript.TestScript, args []string) error {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	return os.Truncate(ts.MkAbs(args[0]), n)
}

// narrowerThan is "widths N": no line of the last standard output is wider.
func narrowerThan(ts *testscript.TestScript, args []string) error {
	limit, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for line := range bytes.Lines([]byte(ts.ReadFile("stdout"))) {
		if n := len([]rune(string(bytes.TrimSuffix(line, []byte("\n"))))); n > limit {
			return fmt.Errorf("%d columns: %s", n, line)
		}
	}
	return nil
}
