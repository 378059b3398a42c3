package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/guard/control"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// desk is where a guard is asked, as flags.
type desk struct {
	address string
	asJSON  bool
}

func (d *desk) flags(f *pflag.FlagSet) {
	f.StringVar(&d.address, "control", defaultControl, "the guard's `ADDR`: unix:///path")
	f.BoolVar(&d.asJSON, "json", false, "print one JSON object per request")
}

// NewApprovals returns sallyport approvals.
func NewApprovals(env *terminal.Env) *cobra.Command {
	var d desk
	cmd := &cobra.Command{
		Use:   "approvals",
		Short: "List what waits for a second person",
		Long: `List the requests that rules want a second person for and that wait for an
answer, and what is approved for a time. "sallyport approve ID" lets one go on,
"sallyport deny ID" refuses it, or ends the time that it was approved for.

STATE is waiting (whoever asked waits, until UNTIL), asked (he was refused and may
come again) or approved (until UNTIL). Only approvers see the list: see
--approvers of "sallyport guard docker".`,
		Args: cobra.NoArgs,
		Example: `  sallyport approvals
  sallyport approvals --json | jq -r .approval.id`,
		RunE: func(cmd *cobra.Command, _ []string) error { return approvals(cmd.Context(), env, d) },
	}
	d.flags(cmd.Flags())
	return cmd
}

// NewApprove returns sallyport approve.
func NewApprove(env *terminal.Env) *cobra.Command {
	var d desk
	var a guard.Answer
	cmd := &cobra.Command{
		Use:   "approve ID",
		Short: "Let a request go on that waits for a second person",
		Long: `Let a request go on that waits for a second person. ID is that of the request, or
its beginning: "sallyport approvals" lists them, and whoever is refused is told.

Nobody approves what he asked for himself: the login user counts, and where it is
not known, the user. One approval is for creating and starting an exec or a
container. With --for it also holds for the same request of the same user from
the same place: command, container, channel, rule, and all else that a rule can
ask about.`,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport approve lqj5hki2oo7zhwoh
  sallyport approve lqj5 --for 15m --reason "incident 42"`,
		ValidArgsFunction: completeRequests(env, &d, false),
		RunE: func(cmd *cobra.Command, ids []string) error {
			if cmd.Flags().Changed("for") && (a.For < time.Second || a.For > guard.ForMax) {
				return exit.Fail(exit.Usage, "--for 15m", "--for %s: want between 1s and %s", a.For, guard.ForMax)
			}
			return settle(env, d, ids[0], a.Reason, func(c *control.Client) (guard.Record, error) {
				return c.Approve(cmd.Context(), ids[0], a)
			})
		},
	}
	f := cmd.Flags()
	d.flags(f)
	f.DurationVar(&a.For, "for", 0, "approve the same request for this `TIME` as well, for example 15m")
	f.StringVar(&a.Reason, "reason", "", "`TEXT` that is kept with the approval")
	return cmd
}

// NewDeny returns sallyport deny.
func NewDeny(env *terminal.Env) *cobra.Command {
	var d desk
	var reason string
	cmd := &cobra.Command{
		Use:   "deny ID",
		Short: "Refuse a request that waits for a second person",
		Long: `Refuse a request that waits for a second person, or end the time that one was
approved for. Whoever asked is told by whom, and the reason.`,
		Args: cobra.ExactArgs(1),
		Example: `  sallyport deny lqj5hki2oo7zhwoh
  sallyport deny lqj5 --reason "not on a Friday"`,
		ValidArgsFunction: completeRequests(env, &d, true),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return settle(env, d, ids[0], reason, func(c *control.Client) (guard.Record, error) {
				return c.Deny(cmd.Context(), ids[0], reason)
			})
		},
	}
	f := cmd.Flags()
	d.flags(f)
	f.StringVar(&reason, "reason", "", "`TEXT` that is kept with the denial and told to whoever asked")
	return cmd
}

// list is the command that lists what waits there.
func (d *desk) list() string { return "sallyport approvals" + controlFlag(d.address) }

// controlFlag returns the flag that whoever answers needs to find a guard.
func controlFlag(address string) string {
	if address == defaultControl {
		return ""
	}
	return " --control " + printable.Command([]string{address})
}

// client returns what asks the guard.
func (d *desk) client() (*control.Client, error) {
	network, path, err := daemonAt(d.address)
	if err != nil || network != "unix" {
		return nil, exit.Fail(exit.Usage, "unix:///path", "--control %q", d.address)
	}
	return control.NewClient(path), nil
}

// failed says what to do about an error of the guard, or of the way to it.
func (d *desk) failed(err error) error {
	var said *control.Error
	var op *net.OpError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &said) && said.Status == http.StatusForbidden:
		return exit.Fail(exit.Findings, "have another one of its --approvers answer", "%w", err)
	case errors.As(err, &said) && (said.Status == http.StatusNotFound || said.Status == http.StatusConflict):
		return exit.Fail(exit.Findings, d.list(), "%w", err)
	case errors.As(err, &said):
		return exit.Fail(exit.Findings, "", "%w", err)
	case errors.Is(err, fs.ErrPermission):
		return exit.Fail(exit.Usage, "as one of its approvers, or by sudo", "no permission to use the guard's socket %s", printable.Text(d.address))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return exit.Fail(exit.Usage, "start sallyport guard docker --enforce, or name its socket with --control", "no guard answers at %s", printable.Text(d.address))
	case errors.As(err, &op):
		return exit.Fail(exit.Usage, "", "the guard at %s: %w", printable.Text(d.address), op)
	}
	return exit.Fail(exit.Findings, "", "the guard at %s: %w", printable.Text(d.address), err)
}

func approvals(ctx context.Context, env *terminal.Env, d desk) error {
	c, err := d.client()
	if err != nil {
		return err
	}
	list, err := c.List(ctx)
	if err != nil {
		return d.failed(err)
	}
	if d.asJSON {
		return terminal.WriteLines(env.Stdout, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(env.Stderr, "nothing waits for approval")
		return nil
	}
	return approvalTable(view.Of(env), list).Write(env.Stdout, env.Width(), env.Palette())
}

// settle answers for a request and says what became of it.
func settle(env *terminal.Env, d desk, id, reason string, give func(*control.Client) (guard.Record, error)) error {
	if err := errors.Join(control.CheckID(id), control.CheckReason(reason)); err != nil {
		return exit.Fail(exit.Usage, d.list(), "%w", err)
	}
	c, err := d.client()
	if err != nil {
		return err
	}
	r, err := give(c)
	if err != nil {
		return d.failed(err)
	}
	if d.asJSON {
		return terminal.WriteJSON(env.Stdout, r)
	}
	out := decisions{render: view.Of(env), control: d.address}
	_, err = fmt.Fprintln(env.Stdout, out.line(&r))
	return err
}

// completeRequests offers what can be answered; granted, also what is approved for a
// time.
func completeRequests(env *terminal.Env, d *desk, granted bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, err := d.client()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list, _ := c.List(cmd.Context()) // nobody to tell of an error
		var out []cobra.Completion
		for i := range list {
			r := &list[i]
			if r.Approval != nil && (granted || r.Approval.State != guard.StateApproved) {
				out = append(out, cobra.CompletionWithDesc(string(r.Approval.ID), printable.Cut(view.Actor(&r.Request.Actor)+" in "+view.Container(&r.Request)+": "+what(&r.Request), 80)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

var approvalColumns = []terminal.Column{
	{Title: "ID"},
	{Title: "ASKED", Drop: 3},
	{Title: "STATE"},
	{Title: "UNTIL", Drop: 4},
	{Title: "ACTOR", Least: 10},
	{Title: "CHANNEL", Drop: 2},
	{Title: "CONTAINER", Least: 8},
	{Title: "COMMAND", Least: 16},
	{Title: "RULE", Least: 8, Drop: 1},
	{Title: "BY", Least: 6},
	{Title: "REASON", Least: 8},
}

func approvalTable(r view.Renderer, list []guard.Record) *terminal.Table {
	t := &terminal.Table{Columns: approvalColumns}
	for i := range list {
		v := &list[i]
		a := v.Approval
		by := ""
		if a.By != nil {
			by = view.Actor(a.By)
		}
		t.Rows = append(t.Rows, []terminal.Cell{
			{Text: string(a.ID), Style: terminal.Bold},
			{Text: a.Asked.In(r.Zone).Format(view.TimeOfDay)},
			{Text: string(a.State), Style: approvalStyle(a.State)},
			{Text: a.Until.In(r.Zone).Format(view.TimeInTable)},
			{Text: view.Actor(&v.Request.Actor)},
			{Text: string(v.Request.Channel)},
			{Text: view.Container(&v.Request)},
			{Text: what(&v.Request)},
			{Text: printable.Text(v.Decision.Rule)},
			{Text: by},
			{Text: printable.Text(a.Reason)},
		})
	}
	return t
}

func approvalStyle(s guard.ApprovalState) terminal.Style {
	switch s {
	case guard.StateWaiting, guard.StateAsked:
		return terminal.Warn
	case guard.StateApproved:
		return terminal.Good
	case guard.StateDenied, guard.StateExpired, guard.StateRevoked, guard.StateRefused:
		return terminal.Bad
	case guard.StateWithdrawn, guard.StateEnded:
	}
	return terminal.Dim
}

// approvalText says what became of a request, behind the rest of its line.
func (d *decisions) approvalText(v *guard.Record) string {
	a := v.Approval
	var parts []string
	switch a.State {
	case guard.StateWaiting:
		parts = append(parts, "until "+a.Until.In(d.render.Zone).Format(view.TimeOfDay)+": sallyport approve "+string(a.ID)+controlFlag(d.control))
	case guard.StateAsked:
		parts = append(parts, "sallyport approve "+string(a.ID)+controlFlag(d.control))
	case guard.StateApproved, guard.StateDenied, guard.StateExpired, guard.StateWithdrawn, guard.StateEnded, guard.StateRevoked, guard.StateRefused:
		if a.By != nil {
			parts = append(parts, "by "+view.Actor(a.By))
		}
		if a.For > 0 {
			parts = append(parts, "for "+(time.Duration(a.For)*time.Second).String())
		}
		parts = append(parts, "(request "+string(a.ID)+")")
	}
	text := strings.Join(parts, " ")
	if a.Reason != "" {
		text += ": " + printable.Text(a.Reason)
	}
	return text
}
