package guard

import (
	"fmt"
	"io"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// decisions prints what a guard decides.
type decisions struct {
	mu     sync.Mutex
	out    io.Writer
	render view.Renderer
	asJSON bool
	// control is where approvers answer.
	control string
	// records says that there is a place for recordings.
	records bool
	silent  bool // nobody reads
}

func (d *decisions) tell(r guard.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.silent {
		return
	}
	var err error
	if d.asJSON {
		err = terminal.WriteJSON(d.out, r)
	} else {
		_, err = fmt.Fprintln(d.out, d.line(&r))
	}
	d.silent = err != nil
}

// line is a decision for a person.
func (d *decisions) line(r *guard.Record) string {
	s := &r.Request
	parts := []string{
		r.Time.In(d.render.Zone).Format("15:04:05"), d.verdict(r), view.Actor(&s.Actor), string(s.Channel), view.Container(s), what(s),
	}
	switch {
	case r.Misread != "":
		parts = append(parts, "misread: "+printable.Text(r.Misread))
	case r.Decision.Rule != "":
		parts = append(parts, "rule "+r.Decision.Rule)
	}
	if d.records && r.Decision.Record && !r.Stopped {
		parts = append(parts, "record")
	}
	if r.Approval != nil {
		parts = append(parts, d.approvalText(r))
	}
	return strings.Join(nonEmpty(parts), "  ")
}

// what says in few words what a request asks for.
func what(s *session.Session) string {
	if text := view.Command(s); text != "" {
		return text
	}
	return "(" + string(s.Kind) + " " + printable.Text(s.Path) + ")"
}

func (d *decisions) verdict(r *guard.Record) string {
	text, look := string(r.Decision.Effect), terminal.Good
	if r.Approval != nil {
		text, look = string(r.Approval.State), approvalStyle(r.Approval.State)
	} else if r.Decision.Effect != effect.Allow {
		look = terminal.Bad
		if !r.Stopped {
			text, look = "would "+text, terminal.Warn
		}
	}
	return d.render.Palette.Paint(look, text)
}

func nonEmpty(list []string) []string {
	out := list[:0]
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// userNames names users, and remembers for a while.
type userNames struct {
	mu    sync.Mutex
	names map[uint32]string // guarded by mu
	until time.Time         // guarded by mu
}

const userNamesKeep = time.Minute

func (u *userNames) name(uid uint32) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); now.After(u.until) || len(u.names) > 1<<12 {
		u.names, u.until = map[uint32]string{}, now.Add(userNamesKeep)
	}
	if name, ok := u.names[uid]; ok {
		return name
	}
	name := ""
	if found, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		name = found.Username
	}
	u.names[uid] = name
	return name
}
