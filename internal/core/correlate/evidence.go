package correlate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// evidenceMax bounds Session.Evidence.
const evidenceMax = 64

// account collects the observations that a session rests on.
type account []session.Evidence

func (a *account) add(o event.Observation, what, format string, args ...any) {
	h := o.Head()
	name := event.Name(o)
	if what != "" {
		name += " " + what
	}
	*a = append(*a, session.Evidence{Time: h.Time, Witness: h.Witness, What: name, Detail: fmt.Sprintf(format, args...)})
}

// sorted returns the account by time; witnesses that agree on the time come in
// a fixed order.
func (a account) sorted() []session.Evidence {
	slices.SortFunc(a, func(x, y session.Evidence) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Witness, y.Witness), cmp.Compare(x.What, y.What), cmp.Compare(x.Detail, y.Detail))
	})
	return a[:min(len(a), evidenceMax)]
}

func (a *account) docker(events ...event.DockerEvent) {
	for _, ev := range events {
		var d []string
		if ev.Command != "" {
			d = append(d, "command "+quote(ev.Command))
		}
		if ev.ExitCode != nil {
			d = append(d, fmt.Sprintf("exit code %d", *ev.ExitCode))
		}
		if len(ev.Forged) > 0 {
			d = append(d, "attributes set by labels: "+strings.Join(ev.Forged, ", "))
		}
		a.add(ev, string(ev.Action), "%s", strings.Join(d, "; "))
	}
}

func (a *account) runtime(events ...*event.RuntimeEvent) {
	for _, ev := range events {
		if ev == nil {
			continue
		}
		var d []string
		if ev.PID != 0 {
			d = append(d, fmt.Sprintf("pid %d", ev.PID))
		}
		if ev.ExitCode != nil {
			d = append(d, fmt.Sprintf("exit code %d", *ev.ExitCode))
		}
		a.add(*ev, string(ev.Action), "%s", strings.Join(append(d, "namespace "+ev.Namespace), "; "))
	}
}

func (a *account) request(r *request) {
	if r.asked {
		doubt := ""
		if !r.Certain {
			doubt = "; not certain to be a request"
		}
		where := fmt.Sprintf("connection %d, request %d, by ", r.ID.Conn, r.ID.N)
		if r.Plugin {
			where = "the daemon asked its plugin about it, sent by "
		}
		a.add(r.DockerRequest, string(r.Op), "%s%s%s", where, describe(r.Peer), doubt)
	}
	if r.answer != nil {
		a.add(*r.answer, string(r.answer.Op), "status %d", r.answer.Status)
	}
}

func describe(p event.Peer) string {
	switch {
	case p.Certificate != nil && p.Address == "":
		return "certificate of " + quote(p.Certificate.CommonName)
	case !p.HasCred() && p.Address == "":
		return "somebody unknown"
	case !p.HasCred():
		return p.Address
	}
	from := ""
	if p.Address != "" {
		from = ", from " + p.Address
	}
	return fmt.Sprintf("uid %d, pid %d%s", p.Cred.UID, p.ID.PID, from)
}

func (a *account) entry(n *entry) {
	if n == nil || n.fact == nil {
		return
	}
	f := n.fact
	parents := make([]string, len(f.Lineage))
	for i, p := range f.Lineage {
		parents[i] = fmt.Sprintf("%s[%s]", cmp.Or(base(string(p.Exe)), string(p.Comm)), orUnknown(p.ID.PID))
	}
	if n.reported() {
		a.add(*f, string(f.Cause), "pid %s, parents %s", orUnknown(f.Root.PID), cmp.Or(strings.Join(parents, " < "), "not told"))
	} else {
		a.add(*f, string(f.Cause), "root %d, cgroup %s, parents %s", f.Root.PID, quote(f.Cgroup), strings.Join(parents, " < "))
	}
	if p := n.procs[n.root]; p != nil {
		for _, x := range p.execs {
			a.add(x, "", "%s", quote(x.Argv.String()))
		}
		if p.exit != nil {
			if p.exit.NoCode {
				a.add(*p.exit, "", "exit code not told")
			} else {
				a.add(*p.exit, "", "exit code %d", p.exit.Code)
			}
		}
	}
}

func orUnknown(pid uint32) string {
	if pid == 0 {
		return "?"
	}
	return strconv.FormatUint(uint64(pid), 10)
}

// quote shortens and quotes foreign text.
func quote(s string) string { return string(appendQuoted(nil, s)) }

func appendQuoted(b []byte, s string) []byte {
	const most = 200
	if len(s) > most {
		return append(strconv.AppendQuote(b, s[:most]), "…"...)
	}
	if plain(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	return strconv.AppendQuote(b, s)
}

// plain reports whether nothing in s has to be escaped: mostly.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (x *exec) evidence(e *Engine, n *entry) []session.Evidence {
	var a account
	a.docker(x.docker...)
	a.runtime(x.added, x.started, x.exited)
	if x.task != nil {
		a.add(*x.task, "", "found with pid %d", x.task.PID)
	}
	if x.inspect != nil {
		a.add(*x.inspect, "", "pid %d, command %s", x.inspect.PID, quote(event.Argv{Args: x.inspect.Argv}.String()))
	}
	for _, r := range e.doors.claimsOn(x) {
		a.request(r)
	}
	a.entry(n)
	if at := (arrival{x, n}); e.arrivals.ofPod(at) {
		a.asked(e, at)
	} else if e.doors.beside(x) {
		starts, adds := e.doors.runtimeClaims(x)
		a.asks(append(starts, adds...)...)
	}
	return a.sorted()
}

func (r *run) evidence(e *Engine, n *entry, creates []*request) []session.Evidence {
	var a account
	for _, ev := range e.inside.seen(r.key.container).events {
		switch ev.Action {
		case event.DockerCreate:
			if e.inside.first(r, e.inside.begins(r)) {
				a.docker(ev)
			}
		case event.DockerStart, event.DockerRestart, event.DockerDie:
			if e.inside.covers(r, ev.Time) {
				a.docker(ev)
			}
		default: // of the container, not of this run of it
		}
	}
	a.runtime(r.created, r.started, r.exited)
	if r.task != nil {
		a.add(*r.task, "", "found with pid %d", r.task.PID)
	}
	begins := e.inside.begins(r)
	for _, q := range e.doors.starters(r, begins) {
		a.request(q)
	}
	for _, q := range creates {
		a.request(q)
	}
	if c := e.inside.seen(r.key.container); c.pod != nil {
		for _, m := range e.kube.makers(c.pod, begins) {
			a.call(m)
		}
	}
	a.asks(e.doors.runAsks(r, begins)...)
	a.entry(n)
	return a.sorted()
}

func (n *entry) evidence(e *Engine) []session.Evidence {
	var a account
	a.entry(n)
	if at := (arrival{nil, n}); e.arrivals.ofPod(at) {
		a.asked(e, at)
	}
	return a.sorted()
}

func (s *stream) evidence(e *Engine, pair *stream) []session.Evidence {
	var a account
	if s.req != nil {
		a.request(s.req)
	}
	if s.began != nil {
		a.docker(*s.began)
	}
	if pair != nil && pair.began != nil {
		a.docker(*pair.began)
	}
	return a.sorted()
}
