//go:build unix

package up

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/store"
)

const oneRule = "version: 1\ndefault: allow\nrules:\n  - {id: any, effect: alert, severity: low, when: session.kind == 'exec'}\n" +
	"  - {id: three, effect: alert, severity: high, when: session.kind == 'exec', count: {by: session.actor.identity, at_least: 3, within: 1h}}\n"

// ruledStore is a store with rules at work.
func ruledStore(t *testing.T, dir, rules string) (keeper, func()) {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRuling(rules, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.remember(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	return keeper{store: st, rules: r}, func() { _ = st.Close() }
}

func writeRules(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func asked(id string, state session.State) session.Revision {
	return session.Revision{Session: session.Session{
		ID: session.ID(id), Kind: session.KindExec, Channel: event.ChannelDockerExec, State: state,
		Started: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC), Attribution: session.Attribution{Level: session.LevelExact},
		Actor: session.Actor{Kind: session.ActorUnix, User: "ann"}, Argv: []string{"sh"}, ArgvSource: "request",
	}}
}

// Without a word about rules the shipped ones are at work; they can be switched
// off.
func TestShippedRulesByDefault(t *testing.T) {
	conf := config.Default(&terminal.Env{Getenv: func(string) string { return "" }})
	k, stop := ruledStore(t, t.TempDir(), conf.Rules)
	defer stop()
	entered := asked("aaaaaaaaaaaaaaaa", session.StateEnded)
	entered.Session.Kind, entered.Session.Channel = session.KindEnter, event.ChannelHostNsenter
	if _, err := k.Append(t.Context(), nil, []session.Revision{entered}); err != nil {
		t.Fatal(err)
	}
	if got := storedFindings(t, k); len(got) != 1 || !strings.Contains(got[0], "R19-entered-beside-every-door") {
		t.Errorf("found %v", got)
	}
	if s := k.rules.state(); s.Path != "shipped" || s.Rules < 50 || !strings.Contains(k.rules.said(), "never deny") {
		t.Errorf("status %+v, said %q", s, k.rules.said())
	}
	none, err := newRuling("none", slog.New(slog.DiscardHandler))
	if none != nil || err != nil {
		t.Errorf("none is %v, %v", none, err)
	}
}

func storedFindings(t *testing.T, k keeper) []string {
	t.Helper()
	var out []string
	for f, err := range k.store.Findings(t.Context(), store.FindingQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f.Rule+" "+string(f.Session))
	}
	slices.Sort(out)
	return out
}

func tick(after time.Duration) []event.Observation {
	return []event.Observation{event.Loss{Header: event.Header{Time: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC).Add(after), Witness: event.WitnessEngine}}}
}

// A restart neither loses a finding nor brings one twice, and counts go on.
func TestFindingsAcrossARestart(t *testing.T) {
	dir, rules := t.TempDir(), writeRules(t, oneRule)
	k, stop := ruledStore(t, dir, rules)
	if _, err := k.Append(t.Context(), tick(0), []session.Revision{asked("s1", session.StateRunning), asked("s2", session.StateRunning)}); err != nil {
		t.Fatal(err)
	}
	stop()
	k, stop = ruledStore(t, dir, rules)
	defer stop()
	for range 2 {
		if _, err := k.Append(t.Context(), tick(time.Second), []session.Revision{
			asked("s1", session.StateEnded), asked("s2", session.StateEnded), asked("s3", session.StateRunning),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if got := storedFindings(t, k); !slices.Equal(got, []string{"any s1", "any s2", "any s3", "three s3"}) {
		t.Errorf("findings %v", got)
	}
}

// What could not be stored is stored with the next batch.
func TestFindingsOfAFailedAppend(t *testing.T) {
	k, stop := ruledStore(t, t.TempDir(), writeRules(t, oneRule))
	defer stop()
	broken, cancel := context.WithCancel(t.Context())
	cancel()
	batch := []session.Revision{asked("s1", session.StateEnded)}
	if _, err := k.Append(broken, tick(0), batch); err == nil {
		t.Fatal("the store took it")
	}
	if _, err := k.Append(t.Context(), tick(time.Second), batch); err != nil {
		t.Fatal(err)
	}
	if got := storedFindings(t, k); !slices.Equal(got, []string{"any s1"}) {
		t.Errorf("findings %v", got)
	}
	if n := k.rules.state(); n.Findings != 1 || len(k.rules.unsaved) != 0 {
		t.Errorf("status %+v, %d unsaved", n, len(k.rules.unsaved))
	}
}

// Rules that are broken when they are loaded again leave the others at work, and
// it shows.
func TestReload(t *testing.T) {
	file := writeRules(t, oneRule)
	k, stop := ruledStore(t, t.TempDir(), file)
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	printed := make(chan finding.Finding, 10)
	ready := make(chan struct{})
	go func() {
		close(ready)
		done <- k.rules.run(ctx, func(list []finding.Finding) {
			for _, f := range list {
				printed <- f
			}
		})
	}()
	<-ready
	reload := func(text string, until func() bool) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); !until(); {
			if time.Now().After(deadline) {
				t.Fatalf("not loaded: %+v", k.rules.state())
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	// Until run listens, the signal would end the test.
	if _, err := k.Append(t.Context(), tick(0), []session.Revision{asked("s1", session.StateEnded)}); err != nil {
		t.Fatal(err)
	}
	if f := <-printed; f.Rule != "any" {
		t.Errorf("printed %+v", f)
	}
	reload("version: 1\nrules: [", func() bool { s := k.rules.state(); return s.Error != "" && s.Failed > 0 && s.Rules == 2 })
	if _, err := k.Append(t.Context(), tick(1), []session.Revision{asked("s2", session.StateEnded)}); err != nil {
		t.Fatal(err)
	}
	reload("version: 1\ndefault: allow\nrules:\n  - {id: other, effect: alert, severity: low, when: session.kind == 'exec'}\n",
		func() bool { s := k.rules.state(); return s.Error == "" && s.Rules == 1 })
	if _, err := k.Append(t.Context(), tick(2), []session.Revision{asked("s3", session.StateEnded)}); err != nil {
		t.Fatal(err)
	}
	if got := storedFindings(t, k); !slices.Equal(got, []string{"any s1", "any s2", "other s3"}) {
		t.Errorf("findings %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
