package scan

import (
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/posture/usage"
	"github.com/sallyport/sallyport/internal/kube/objects"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

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
