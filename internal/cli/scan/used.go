package scan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/evidence"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/exposure"
	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/kube/objects"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store"
)

// used is what was granted, held against what was done.
type used struct {
	sources
	state    string
	captures []string
	since    string
	propose  bool
	all      bool
	asJSON   bool
}

// usedSince is how far back a state directory is looked at.
const usedSince = "30d"

func newUsed(env *terminal.Env) *cobra.Command {
	q := used{state: statedir.Default(env)}
	cmd := &cobra.Command{
		Use:   "used",
		Short: "Say which grants were used, how often and by whom, and which role would have sufficed",
		Long: `Hold the grants that lead to a command against the sessions that were seen: those
that "sallyport up" keeps, or of captures and other tools' logs.

A session uses every grant that would have let its actor make that very request. A
grant is used when the actor is known, perhaps used when he is one of several, and
unused for as long as the witness watched that would have seen its use; where that
did not watch, it is unknown. How long it watched is said first.

With --propose the output is YAML for kubectl apply -f -: for each actor and
namespace the least role that would have sufficed, and as comments what could be
removed then. Nobody is given more than he has. Look at it before you apply it:
only commands are watched, and not what else a role is for.

What every new cluster has is counted and not listed, unless --all is given.

` + sourcesHelp,
		Args: cobra.NoArgs,
		Example: `  sallyport scan used
  sallyport scan used --since 90d --json | jq -r 'select(.state == "unused").grant.object'
  sallyport scan used --from prod.scan --capture monday.capture
  sallyport scan used --propose > least.yaml`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runUsed(cmd.Context(), env, &q) },
	}
	q.flags(cmd)
	q.namespaceFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&q.state, "state", q.state, "take sessions from the state directory `DIR`")
	f.StringArrayVar(&q.captures, "capture", nil, "take sessions from a capture or log `FILE` instead; may be repeated")
	f.StringVar(&q.since, "since", "", "look at what was asked for since `WHEN`: a duration (12h, 90d) or a time (default "+usedSince+"; of captures, all)")
	f.BoolVar(&q.propose, "propose", false, "print the least roles that would have sufficed, and what could be removed")
	f.BoolVar(&q.all, "all", false, "list those, too, that every new cluster has")
	f.BoolVar(&q.asJSON, "json", false, "print one JSON object per grant, or proposal, and one on what was watched")
	return cmd
}

func runUsed(ctx context.Context, env *terminal.Env, q *used) error {
	i, err := gather(ctx, env, &q.sources)
	if err != nil {
		return err
	}
	var a *exposure.Analysis
	switch {
	case i.Cluster != nil:
		p := env.Progress(thinking)
		a = analyse(i)
		p.Done()
	case len(i.Hosts) == 0:
		return exit.Fail(exit.Usage, "--from cluster", "used: %w", errNoCluster)
	}
	t, err := q.tally(ctx, env, i, a)
	if err != nil || ctx.Err() != nil {
		return exit.CutShort(err)
	}
	r := t.Report()
	switch {
	case q.propose && q.asJSON:
		err = planJSON(env, &r, t.Plan(&r))
	case q.propose:
		err = plan(env, &r, t.Plan(&r))
	case q.asJSON:
		err = usedJSON(env, &r, q.all)
	default:
		err = usedTable(env, &r, q.all)
	}
	if err != nil {
		return err
	}
	return q.covered(i)
}

// tally counts the sessions of the time that is asked for. An error in their middle
// leaves no result: what is missing would seem unused.
func (q *used) tally(ctx context.Context, env *terminal.Env, i *inventory.Inventory, a *exposure.Analysis) (*usage.Tally, error) {
	now := time.Now().UTC()
	since, err := config.ParseSince(q.since, now)
	if err != nil {
		return nil, err
	}
	w := usage.NewWitnesses()
	if len(q.captures) > 0 {
		return q.replayed(ctx, env, w, since, func(in usage.Window) *usage.Tally { return usage.New(i, a, w, in) })
	}
	if since.IsZero() {
		since, _ = config.ParseSince(usedSince, now) // which is a duration
	}
	if !since.Before(now) {
		return nil, errFuture
	}
	r, err := statedir.Reader(q.state)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := remembered(ctx, r, w); err != nil {
		return nil, err
	}
	defer env.Progress("Counting what was used").Done()
	t := usage.New(i, a, w, usage.Window{From: since, To: now})
	for s, err := range r.Sessions(ctx, store.Query{Since: since, Until: now}) {
		if err != nil {
			return nil, err
		}
		t.Add(&s)
	}
	return t, nil
}

// errFuture is a time in which nothing can have been used yet.
var errFuture = exit.Fail(exit.Usage, "an earlier --since", "used: nothing was seen after --since")

// remembered tells w what the store has of the witnesses, and since when it has all.
func remembered(ctx context.Context, r *store.Reader, w *usage.Witnesses) error {
	for o, err := range r.Statements(ctx) {
		if err != nil {
			return err
		}
		w.Observe(o)
	}
	from, ok, err := r.Oldest(ctx)
	if err != nil || !ok {
		return err
	}
	to, _, err := r.Newest(ctx)
	w.Kept(from, to)
	return err
}

// replayed counts the sessions of captures and logs.
func (q *used) replayed(ctx context.Context, env *terminal.Env, w *usage.Witnesses, since time.Time, begin func(usage.Window) *usage.Tally) (*usage.Tally, error) {
	v := evidence.Reader{Stderr: env.Stderr}
	input, err := v.Read(ctx, q.captures)
	if err != nil {
		return nil, err
	}
	var first, last time.Time
	heard := func(yield func(event.Observation, error) bool) {
		for o, err := range input {
			if err == nil {
				w.Observe(o)
				at := o.Head().Time
				if first.IsZero() || at.Before(first) {
					first = at
				}
				if at.After(last) {
					last = at
				}
			}
			if !yield(o, err) {
				return
			}
		}
	}
	result, err := replay.Play(iter.Seq2[event.Observation, error](heard), correlate.Options{}, nil)
	switch {
	case err != nil:
		return nil, err
	case v.Faulty:
		return nil, &exit.Error{Code: exit.Incomplete, Err: errors.New("used: what was not understood may be what a grant was used for")}
	}
	end := last.Add(1) // that is, with what was seen last
	w.Kept(first, end)
	if since.IsZero() {
		since = first
	}
	if !since.Before(end) {
		return nil, errFuture
	}
	t := begin(usage.Window{From: since, To: end})
	for n := range result.Sessions {
		t.Add(&result.Sessions[n])
	}
	return t, nil
}

func usedJSON(env *terminal.Env, r *usage.Report, all bool) error {
	for n := range r.Rows {
		if !all && r.Rows[n].Default() {
			continue
		}
		if err := terminal.WriteJSON(env.Stdout, r.Rows[n]); err != nil {
			return err
		}
	}
	return terminal.WriteJSON(env.Stdout, map[string]any{"report": r})
}

func planJSON(env *terminal.Env, r *usage.Report, p usage.Plan) error {
	if err := complete(env, &p); err != nil {
		return err
	}
	lines := make([]any, 0, len(p.Proposals)+len(p.Removals)+len(p.Kept)+1)
	for n := range p.Proposals {
		lines = append(lines, map[string]any{"proposal": p.Proposals[n]})
	}
	for n := range p.Removals {
		lines = append(lines, map[string]any{"removal": p.Removals[n]})
	}
	for n := range p.Kept {
		lines = append(lines, map[string]any{"kept": p.Kept[n]})
	}
	for _, line := range append(lines, map[string]any{"report": r}) {
		if err := terminal.WriteJSON(env.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// complete is the error when more was used than can be proposed for.
func complete(env *terminal.Env, p *usage.Plan) error {
	if p.Full {
		return exit.Fail(exit.Incomplete, "a later --since, or fewer namespaces with --from", "used: more was used than is kept of it: nothing can be proposed")
	}
	return nil
}

var usedColumns = []terminal.Column{
	{Title: "STATE"}, {Title: "USES"}, {Title: "LAST", Drop: 2}, {Title: "WHAT", Least: 12}, {Title: "GRANT", Least: 20}, {Title: "RULE", Drop: 3}, {Title: "BY", Least: 12},
	{Title: "WHERE", Least: 8, Drop: 1},
}

var usedStyles = map[usage.State]terminal.Style{usage.Used: terminal.Bold, usage.Perhaps: terminal.Warn, usage.Unused: terminal.Warn, usage.Unknown: terminal.Dim}

func usedTable(env *terminal.Env, r *usage.Report, all bool) error {
	rend := view.Of(env)
	w := &terminal.Writer{To: env.Stdout}
	for _, line := range watchedLines(r, rend) {
		w.Line("%s", line)
	}
	t, folded := terminal.Table{Columns: usedColumns}, 0
	for _, rows := range together(r.Rows) {
		if all || !rows[0].Default() {
			t.Rows = append(t.Rows, usedRow(rows, rend))
		} else {
			folded += len(rows)
		}
	}
	if w.Err != nil {
		return w.Err
	}
	if len(t.Rows) > 0 {
		w.Line("")
		if err := t.Write(env.Stdout, rend.Width, rend.Palette); err != nil {
			return err
		}
	}
	w.Line("")
	for _, line := range doubts(r) {
		w.Line("%s", line)
	}
	if folded > 0 {
		w.Line("%d more by what every new cluster has: --all lists them.", folded)
	}
	return w.Err
}

// together puts those rows side by side that say the same: what a binding allows and
// nobody used.
func together(rows []usage.Row) (out [][]*usage.Row) {
	type key struct {
		state  usage.State
		object string
	}
	at := map[key]int{}
	for n := range rows {
		r := &rows[n]
		if r.Grant == nil || r.Uses+r.Perhaps > 0 {
			out = append(out, []*usage.Row{r})
			continue
		}
		k := key{r.State, r.Grant.Binding}
		if i, ok := at[k]; ok {
			out[i] = append(out[i], r)
			continue
		}
		at[k] = len(out)
		out = append(out, []*usage.Row{r})
	}
	return out
}

// usedRow is a line of the table, of rows that say the same.
func usedRow(rows []*usage.Row, rend view.Renderer) []terminal.Cell {
	r := rows[0]
	var does, rules []string
	for _, r := range rows {
		if d := r.Edge.Does(); !slices.Contains(does, d) {
			does = append(does, d)
		}
		if r.Grant == nil {
			continue
		}
		if n := fmt.Sprint(r.Grant.Rule); !slices.Contains(rules, n) {
			rules = append(rules, n)
		}
	}
	last, what, where := "", r.Setting, ""
	if r.Last != nil {
		last = r.Last.In(rend.Zone).Format(view.TimeInTable)
	}
	if g := r.Grant; g != nil {
		what = g.Binding
		if g.Origin.Line > 0 {
			where = g.Origin.String()
		}
	}
	return []terminal.Cell{
		{Text: string(r.State), Style: usedStyles[r.State]}, {Text: times(r)}, {Text: last}, {Text: strings.Join(does, ", ")}, {Text: printable.Text(what)},
		{Text: strings.Join(rules, ", ")}, {Text: printable.Text(usedBy(r))}, {Text: printable.Text(where)},
	}
}

// times says how often a grant was used, and how often perhaps.
func times(r *usage.Row) string {
	switch {
	case r.Perhaps == 0 && r.Uses == 0:
		return ""
	case r.Perhaps == 0:
		return fmt.Sprint(r.Uses)
	}
	return fmt.Sprintf("%d+%d?", r.Uses, r.Perhaps)
}

// usedBy names who used a grant, and of several subjects who did not.
func usedBy(r *usage.Row) string {
	const most = 4
	var out []string
	for n := range r.By {
		if n == most {
			break
		}
		out = append(out, string(r.By[n].Actor))
	}
	by := strings.Join(out, ", ")
	if more := len(r.By) - len(out) + r.More; more > 0 {
		by += fmt.Sprintf(" and %d more", more)
	}
	if by == "" && r.Actor != "" {
		return string(r.Actor)
	}
	var idle []string
	for _, a := range r.Idle[:min(len(r.Idle), most)] {
		idle = append(idle, string(a))
	}
	if len(idle) == 0 {
		return by
	}
	by += "; not " + strings.Join(idle, ", ")
	if more := len(r.Idle) - len(idle); more > 0 {
		by += fmt.Sprintf(" and %d more", more)
	}
	return by
}

// gapShown is the shortest gap that is shown to a person, and gapsShown how many are:
// states are repeated every ten minutes, so that the last is often a few minutes old.
const (
	gapShown  = 15 * time.Minute
	gapsShown = 3
)

// watchedLines says for how long which witness watched.
func watchedLines(r *usage.Report, rend view.Renderer) (out []string) {
	for n := range r.Watched {
		w := &r.Watched[n]
		line := fmt.Sprintf("%s watched for %s of %s asked, from %s to %s.", w.Witness, span(w.Seconds), span(w.Of), r.From.In(rend.Zone).Format(layoutDay), r.To.In(rend.Zone).Format(layoutDay))
		if w.Node != "" {
			line = printable.Text(w.Node) + ": " + line
		}
		out = append(out, line)
		shown := 0
		for _, g := range w.Gaps {
			if g.To.Sub(g.From) < gapShown && w.Any() {
				continue
			}
			if shown++; shown <= gapsShown {
				out = append(out, fmt.Sprintf("  not from %s to %s: %s", g.From.In(rend.Zone).Format(layoutDay), g.To.In(rend.Zone).Format(layoutDay), printable.Text(g.Why)))
			}
		}
		if more := w.GapsTotal - gapsShown; shown > gapsShown && more > 0 {
			out = append(out, fmt.Sprintf("  and %s more", wording.Plural(more, "time")))
		}
	}
	return out
}

// layoutDay shows a moment of a long time.
const layoutDay = "2006-01-02 15:04"

// span says for how long, in the unit that a person would use.
func span(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	in := func(unit time.Duration, name string) string {
		text := strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()/unit.Seconds()), ".0")
		if text == "1" {
			return text + " " + name
		}
		return text + " " + name + "s"
	}
	switch {
	case d >= 36*time.Hour:
		return in(24*time.Hour, "day")
	case d >= 90*time.Minute:
		return in(time.Hour, "hour")
	case d >= 90*time.Second:
		return in(time.Minute, "minute")
	}
	return in(time.Second, "second")
}

// doubts says what may make a grant used that seems not to be, and what was not counted.
func doubts(r *usage.Report) (out []string) {
	t := &r.Totals
	out = append(out, fmt.Sprintf("%s looked at.", wording.Plural(t.Sessions, "session")))
	for _, d := range []usage.Door{usage.DoorKubernetes, usage.DoorDocker, usage.DoorRuntime, usage.DoorHost} {
		if n := t.Unnamed[d]; n > 0 {
			out = append(out, fmt.Sprintf("%s (%s) with nobody to name: a grant that seems unused may be theirs.", wording.Plural(n, "session"), d))
		}
	}
	say := func(n int, format string) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, wording.Plural(n, "session")))
		}
	}
	say(t.Groupless, "%s of users whose groups no witness told: grants of groups may be theirs.")
	say(t.Masters, "%s of members of system:masters, whom no role is asked for.")
	say(t.Elsewhere, "%s of hosts that are not in the inventory.")
	if t.Beyond > 0 {
		var who []string
		for _, a := range t.BeyondBy {
			who = append(who, string(a))
		}
		out = append(out, fmt.Sprintf("%s that nothing in the inventory allows, by %s: what did was taken away since, or is no role.", wording.Plural(t.Beyond, "session"), printable.Text(strings.Join(who, ", "))))
	}
	if t.Failed > 0 {
		out = append(out, fmt.Sprintf("%s to the API server refused or failed, and not counted.", wording.Plural(t.Failed, "request")))
	}
	if !r.PolicyRead && slices.ContainsFunc(r.Watched, func(w usage.Watched) bool { return w.Witness == event.WitnessAudit && w.Any() }) {
		out = append(out, "The API server's audit policy was not read: of what it leaves out nothing was seen (sallyport doctor checks it).")
	}
	if len(r.Silent) > 0 {
		out = append(out, "The audit policy records nothing of: "+printable.Text(strings.Join(r.Silent, "; "))+". What is unused is therefore unknown.")
	}
	if r.Unwatched > 0 {
		out = append(out, fmt.Sprintf("%s to others by tokens, secrets, roles or certificates: nobody watches their use (sallyport scan lists them).", wording.Plural(r.Unwatched, "way")))
	}
	return out
}

// plan prints proposals as a manifest, and the rest as comments in it.
func plan(env *terminal.Env, r *usage.Report, p usage.Plan) error {
	if err := complete(env, &p); err != nil {
		return err
	}
	rend := view.Of(env)
	w := &terminal.Writer{To: env.Stdout}
	for _, line := range append(watchedLines(r, rend), doubts(r)...) {
		w.Line("# %s", line)
	}
	for n := range p.Proposals {
		x := &p.Proposals[n]
		text, err := objects.Manifest(&x.Role, &x.Binding)
		if err != nil {
			return err
		}
		in := "everywhere"
		if x.Role.Namespace != "" {
			in = "in namespace " + x.Role.Namespace
		}
		w.Line("---")
		w.Line("# %s %s, last %s", printable.Text(string(x.Actor)), printable.Text(in), x.Last.In(rend.Zone).Format(layoutDay))
		w.Line("%s", strings.TrimSuffix(string(text), "\n"))
	}
	if len(p.Proposals) == 0 {
		w.Line("# No role to propose.")
	}
	remainder(env, w, r, &p)
	return w.Err
}

// remainder prints what can go, and what stays.
func remainder(env *terminal.Env, w *terminal.Writer, r *usage.Report, p *usage.Plan) {
	if len(p.Removals) > 0 {
		w.Line("#")
		w.Line("# Then remove:")
	}
	for _, m := range p.Removals {
		why := "not used"
		if m.Replaced {
			why = "used, and given otherwise"
		}
		if len(m.Loses) > 0 {
			why += "; also allows, and nobody watches: " + strings.Join(m.Loses, "; ")
			if m.LosesMore > 0 {
				why += fmt.Sprintf(" and %d more", m.LosesMore)
			}
		}
		w.Line("#   %s  # %s", printable.Text(m.Patch), printable.Text(why))
	}
	if len(p.Kept) > 0 {
		w.Line("#")
		w.Line("# Stays:")
	}
	for _, k := range p.Kept {
		w.Line("#   %s: %s", printable.Text(k.Binding), printable.Text(k.Why))
	}
	said := false
	for n := range r.Rows {
		row := &r.Rows[n]
		if row.Host == "" || row.State != usage.Unused {
			continue
		}
		if !said {
			said = true
			w.Line("#")
			w.Line("# Not used on hosts:")
		}
		w.Line("#   %s: %s by %s", printable.Text(row.Host), printable.Text(string(row.Actor)), printable.Text(row.Setting))
	}
}
