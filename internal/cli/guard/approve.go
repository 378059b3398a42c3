package guard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/export/redact"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/guard/control"
	"github.com/sallyport/sallyport/internal/guard/notify"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/webhook"
)

// defaultControl is where a guard is asked unless it is said otherwise.
const defaultControl = "unix:///run/sallyport/guard.sock"

// approvalConfig is what the command line says about approvals.
type approvalConfig struct {
	control, group, approvers string
	wait                      time.Duration
	webhook, secret           string
}

// approvalWaitMax is longer than any client waits.
const approvalWaitMax = time.Hour

func (c *approvalConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.approvers, "approvers", "user:root", "who may approve what rules want a second person for: a `LIST` of user:NAME and group:NAME, or their numbers, with commas between")
	f.StringVar(&c.control, "control", defaultControl, "serve approvers at `ADDR`: unix:///path, or off")
	f.StringVar(&c.group, "control-group", "", "the group that may use that socket, `NAME` or number (default: the first group of --approvers)")
	f.StringVar(&c.webhook, "approval-webhook", "", "post what waits, and what becomes of it, to `URL`, signed")
	f.StringVar(&c.secret, "approval-secret-file", "", "`FILE` with the secret that signs it")
}

// waitFlag is for a guard whose clients may be kept waiting.
func (c *approvalConfig) waitFlag(f *pflag.FlagSet) {
	f.DurationVar(&c.wait, "approval-wait", time.Minute, "for what `TIME` a request waits for an answer; 0 refuses it at once, and it may come again when it is approved")
}

// approving is what a guard needs for approvals; the zero value has none.
type approving struct {
	approvers guard.Approvers
	wait      time.Duration
	said      string // who may approve, for a person
	address   string
	door      listener
	notifier  *notify.Notifier
	notices   func(guard.Record)
	sent      sync.WaitGroup // of the notifier
	end       context.CancelFunc
}

// prepare reads what the command line says.
func (c approvalConfig) prepare(log *slog.Logger) (*approving, error) {
	a := &approving{wait: c.wait, said: c.approvers, address: c.control, door: listener{group: c.group, flag: "--control"}, notices: func(guard.Record) {}}
	if c.control == "off" {
		if c.webhook != "" {
			return nil, exit.Fail(exit.Usage, "leave one of them out", "--approval-webhook needs --control")
		}
		return &approving{address: "off", notices: a.notices}, nil
	}
	if c.wait < 0 || c.wait > approvalWaitMax {
		return nil, exit.Fail(exit.Usage, "a time such as 60s, at most "+approvalWaitMax.String(), "--approval-wait %s", c.wait)
	}
	if path, ok := strings.CutPrefix(a.address, "unix://"); !ok || !filepath.IsAbs(path) {
		return nil, exit.Fail(exit.Usage, "unix:///path or off", "--control %q", c.control)
	}
	group, err := a.who(c.approvers)
	if err != nil {
		return nil, err
	}
	a.door.group = cmp.Or(a.door.group, group)
	for _, uid := range a.approvers.UIDs {
		if uid != 0 && a.door.group == "" {
			return nil, exit.Fail(exit.Usage, "name a group that they are in with --control-group", "the control socket would be root's alone, and %s could not use it", c.approvers)
		}
	}
	return a, a.webhook(c, log)
}

// who reads who may approve, and returns the first group among them.
func (a *approving) who(list string) (group string, err error) {
	for _, text := range strings.Split(list, ",") {
		kind, name, _ := strings.Cut(strings.TrimSpace(text), ":")
		switch {
		case kind == "user" && name != "":
			uid, err := userID(name)
			if err != nil {
				return "", exit.Fail(exit.Usage, "the name or number of a user", "--approvers %q: %w", text, err)
			}
			a.approvers.UIDs = append(a.approvers.UIDs, uid)
		case kind == "group" && name != "":
			gid, err := groupID(name)
			if err != nil {
				return "", exit.Fail(exit.Usage, "the name or number of a group", "--approvers %q: %w", text, err)
			}
			a.approvers.GIDs = append(a.approvers.GIDs, gid)
			group = cmp.Or(group, name)
		default:
			return "", exit.Fail(exit.Usage, "user:NAME, group:NAME, with commas between", "--approvers %q", text)
		}
	}
	return group, nil
}

func userID(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(n), err
}

func groupID(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err
}

// notice is what a webhook gets.
type notice struct {
	Type      string       `json:"type"` // "approval." and the state
	Timestamp time.Time    `json:"timestamp"`
	Host      string       `json:"host,omitempty"`
	Data      guard.Record `json:"data"`
}

// webhook prepares what is posted: of approvals alone, and without secrets.
func (a *approving) webhook(c approvalConfig, log *slog.Logger) error {
	if c.webhook == "" {
		return nil
	}
	bad := func(err error) error { return exit.Fail(exit.Usage, "", "--approval-webhook: %w", err) }
	if u, err := url.Parse(c.webhook); err == nil && u.User != nil {
		return bad(errors.New("a URL with a password does not belong into a command line"))
	}
	if c.secret == "" {
		return bad(errors.New("what is sent is signed: name a file with the secret, --approval-secret-file"))
	}
	text, err := os.ReadFile(c.secret)
	if err != nil {
		return bad(fmt.Errorf("--approval-secret-file: %w", err))
	}
	secret, err := webhook.NewSecret(string(text))
	if err != nil {
		return bad(err)
	}
	to, err := webhook.New(webhook.Options{URL: c.webhook, Secret: secret, Timeout: 5 * time.Second})
	if err != nil {
		return bad(err)
	}
	redactor, err := redact.New(redact.Rules{})
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	a.notifier = notify.New(notify.Options{To: to, Logger: log})
	a.notices = func(r guard.Record) {
		if r.Approval == nil {
			return
		}
		said := *r.Approval
		said.Reason = redactor.Text(said.Reason)
		r.Request, r.Decision.Message, r.Approval = redactor.Session(r.Request), redactor.Text(r.Decision.Message), &said
		a.notifier.Notify(notice{"approval." + string(r.Approval.State), r.Time, host, r})
	}
	return nil
}

// run serves approvers until ctx ends, and sends notices until stop.
func (a *approving) run(ctx context.Context, group *errgroup.Group, judge *guard.Guard, name func(uint32) string, log *slog.Logger) error {
	if a.address == "off" {
		return nil
	}
	l, err := a.door.listen(ctx, a.address, nil)
	if err != nil {
		return err
	}
	group.Go(func() error {
		return control.Serve(ctx, l, control.Options{
			Desk: judge, Person: func(c net.Conn) guard.Person { return personAt(c, name) }, Logger: log,
		})
	})
	group.Go(func() error {
		<-ctx.Done()
		judge.Close() // whoever waits hears of it
		return nil
	})
	if a.notifier != nil {
		sending, end := context.WithCancel(context.WithoutCancel(ctx))
		a.end = end
		a.sent.Go(func() { a.notifier.Run(sending) })
	}
	return nil
}

// stop removes the socket, and waits until what was to be told is sent.
func (a *approving) stop() {
	a.door.close()
	if a.end != nil {
		a.end()
		a.sent.Wait()
	}
}

// personAt says who is at the other end of a connection.
func personAt(c net.Conn, name func(uint32) string) guard.Person {
	_, peer := kernel.SocketPeer(c)
	p := guard.Person{Actor: session.UnixActor(&peer, name)}
	p.Argv = nil                       // his command line is no part of who he is
	p.Groups, _ = kernel.PeerGroups(c) // none: then none counts
	return p
}

// text says how approvals go, for a person.
func (a *approving) text() string {
	if a.address == "off" {
		return ""
	}
	wait := "wait " + a.wait.String() + " for it"
	if a.wait == 0 {
		wait = "are refused until then"
	}
	return fmt.Sprintf("What needs approval is approved by %s: sallyport approvals --control %s. Requests %s.\n",
		printable.Text(a.said), printable.Text(a.address), wait)
}
