package scan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

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

// gapShown is the shortest gap that is shown to a person, and gapsShown how many are:
// states are repeated every ten minutes, so that the last is often a few minutes old.
const (
	gapShown  = 15 * time.Minute
	gapsShown = 3
)
