// Package replay keeps what witnesses report in a file, and runs the engine over that and
// over other tools' logs.
package replay

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/complete"
	"github.com/sallyport/sallyport/internal/cli/evidence"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
)

// New returns sallyport replay.
func New(env *terminal.Env) *cobra.Command {
	var asJSON, revisions, all bool
	var show, rules string
	v := evidence.Reader{Stderr: env.Stderr}
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Run the engine over captured observations and other tools' logs, offline",
		Long: `Run the same engine as "sallyport up" over files of "sallyport capture": on any
system, without root, with the same output on every run. Several captures are
played one after the other as one history: give files of one host, oldest first.

Logs of other tools are read, too, plain, gzip or zstd, and merged with the rest
by time. What they are is told from their first records, or by --format:
` + evidence.FormatsHelp() + `
A log says less than the witnesses of "up": what it lacks is unknown, and nothing
follows from what it does not tell. Standard error says what became of each file.

What a daemon runs by itself again and again (health checks, probes, the canaries of
"up" in an audit log) is one line with a count; --all and --json list each.

With --rules, what the rules find is printed after the sessions; with --json as
objects of the one key "finding".

A damaged file is played up to the damage, which is named, and a record that is
not understood is left out and quoted; exit status 3. Times are in UTC.`,
		Args: cobra.MinimumNArgs(1),
		Example: `  sallyport replay today.capture
  sallyport replay today.capture --show 4t7k
  sallyport replay today.capture --json | jq -r .id
  sallyport replay tetragon.log.gz kube-audit.log
  sallyport replay falco.json eks-audit.json
  sallyport replay /var/log/audit/audit.log docker-events.json --node edge1
  sallyport replay sysmon.xml --format winevent`,
		RunE: func(cmd *cobra.Command, files []string) error {
			return runReplay(cmd.Context(), env, files, &v, replayOutput{asJSON, revisions, show, rules, all})
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.Format, "format", "", "the logs are of the format `NAME`, whatever they begin with")
	complete.Words(cmd, "format", evidence.LogFormats()...)
	f.StringVar(&v.Node, "node", "", "logs that name no node are of `NODE`")
	f.BoolVar(&all, "all", false, "a line for each run of a health check or probe, and each canary")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per session")
	f.BoolVar(&revisions, "revisions", false, "print every revision of every session, not only its last state")
	f.StringVar(&show, "show", "", "print all there is on the session whose `ID` begins so")
	f.StringVar(&rules, "rules", "", "find by the rules in `PATH`, as up does, and print what they find; shipped for those in the program")
	return cmd
}

// replayOutput is how a replay is shown.
type replayOutput struct {
	asJSON    bool
	revisions bool
	show      string
	rules     string
	all       bool
}

// lines are the sessions of a table, as "sallyport sessions" has them.
func (o *replayOutput) lines(all []session.Session) []view.Row {
	if o.all {
		return view.OnePerLine(all)
	}
	return view.Fold(all)
}

func runReplay(ctx context.Context, env *terminal.Env, files []string, v *evidence.Reader, out replayOutput) error {
	input, err := v.Read(ctx, files)
	if err != nil {
		return err
	}
	render := view.Of(env)
	render.Zone = time.UTC
	each, history := eachRevision(env, render, out)
	var found []finding.Finding
	finish := func() {}
	if out.rules != "" {
		set, err := ruleset.Load([]string{out.rules})
		if err != nil {
			return err
		}
		input, each, finish = reviewing(set, input, each, &found)
	}
	result, broken := replay.Play(input, correlate.Options{}, each)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	finish()
	if broken == nil && v.Faulty {
		broken = &exit.Error{Code: exit.Incomplete}
	}
	switch {
	case out.show != "":
		err = replayed(env, render, result.Sessions, history, out)
	case out.revisions:
	case out.asJSON:
		for _, s := range result.Sessions {
			if err = terminal.WriteJSON(env.Stdout, s); err != nil {
				break
			}
		}
	default:
		err = view.Sessions(env, render, out.lines(result.Sessions), fmt.Sprintf("no sessions in %d observations", result.Observations))
	}
	if err == nil && out.rules != "" {
		err = replayFindings(env, render, found, out)
	}
	if err != nil {
		return err
	}
	return exit.CutShort(broken)
}

// reviewing has rules hear input and puts them before each: what they find is
// collected. The last function ends the history.
func reviewing(set *policy.Set, input kept, each func(session.Revision) error, found *[]finding.Finding) (kept, func(session.Revision) error, func()) {
	engine := policy.NewEngine(set)
	heard := func(yield func(event.Observation, error) bool) {
		for o, err := range input {
			if err == nil {
				*found = append(*found, engine.Hear(o)...)
			}
			if !yield(o, err) {
				return
			}
		}
	}
	return heard, func(r session.Revision) error {
		*found = append(*found, engine.Observe(r.Session)...)
		return each(r)
	}, func() { *found = append(*found, engine.Flush()...) }
}

// kept is observations in the order in which they were kept.
type kept = iter.Seq2[event.Observation, error]

// replayFindings prints what rules found: of the session to show, if there is one.
func replayFindings(env *terminal.Env, render view.Renderer, found []finding.Finding, out replayOutput) error {
	if out.show != "" {
		found = slices.DeleteFunc(found, func(f finding.Finding) bool { return !strings.HasPrefix(string(f.Session), out.show) })
	}
	if !out.asJSON {
		if len(found) > 0 {
			fmt.Fprintln(env.Stdout)
		}
		return view.Findings(env, render, found, "the rules found nothing")
	}
	for _, f := range found {
		if err := terminal.WriteJSON(env.Stdout, map[string]finding.Finding{"finding": f}); err != nil {
			return err
		}
	}
	return nil
}

// eachRevision returns what to do with each revision as it comes, and where
// those of the session to show are collected.
func eachRevision(env *terminal.Env, render view.Renderer, out replayOutput) (func(session.Revision) error, *[]session.Revision) {
	history := new([]session.Revision)
	live := view.NewLive(env, out.asJSON)
	live.Render = render
	return func(r session.Revision) error {
		switch {
		case out.show != "":
			if strings.HasPrefix(string(r.Session.ID), out.show) {
				*history = append(*history, r)
			}
		case out.revisions:
			return live.Revision(r)
		}
		return nil
	}, history
}

// replayed shows one session of a replay, as `show` does.
func replayed(env *terminal.Env, render view.Renderer, sessions []session.Session, history *[]session.Revision, out replayOutput) error {
	var found []session.Session
	for _, s := range sessions {
		if strings.HasPrefix(string(s.ID), out.show) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return exit.Fail(exit.Findings, "replay without --show lists them", "--show %q: %d sessions fit", out.show, len(found))
	}
	if out.asJSON {
		return terminal.WriteJSON(env.Stdout, found[0])
	}
	w := &terminal.Writer{To: env.Stdout}
	render.Session(w, &found[0], *history, true)
	return w.Err
}
