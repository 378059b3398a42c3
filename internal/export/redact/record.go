package redact

import (
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Session returns s without secrets.
func (x *Redactor) Session(s session.Session) session.Session {
	s.Argv = x.Args(s.Argv)
	s.Path = x.Text(s.Path)
	s.Gaps = each(s.Gaps, x.Text)
	s.Unexplained.Reason = x.Text(s.Unexplained.Reason)
	if d := s.Decision; d != nil {
		out := *d
		out.Message, out.Approver = x.Text(d.Message), x.Text(d.Approver)
		s.Decision = &out
	}
	if s.Settings != nil {
		out := x.settings(*s.Settings)
		s.Settings = &out
	}
	s.Actor = x.actor(s.Actor)
	s.Attribution.Candidates = each(s.Attribution.Candidates, x.actor)
	s.Target.Labels = x.labels(s.Target.Labels)
	if h := s.Target.HostAccess; h != nil {
		out := *h
		out.Devices, out.Paths = each(h.Devices, x.Text), each(h.Paths, x.Text)
		s.Target.HostAccess = &out
	}
	s.Carried = each(s.Carried, func(c session.Carried) session.Carried {
		c.Argv = x.Args(c.Argv)
		return c
	})
	s.Processes = each(s.Processes, x.process)
	s.Evidence = each(s.Evidence, func(e session.Evidence) session.Evidence {
		e.What, e.Detail = x.Text(e.What), x.Text(e.Detail)
		return e
	})
	return s
}

func (x *Redactor) settings(s session.Settings) session.Settings {
	s.Dir, s.CgroupParent = x.Text(s.Dir), x.Text(s.CgroupParent)
	for _, list := range []*[]string{&s.Variables, &s.Security, &s.Sysctls, &s.DeviceRules, &s.Joined} {
		*list = each(*list, x.Text)
	}
	return s
}

func (x *Redactor) actor(a session.Actor) session.Actor {
	a.Argv = x.Args(a.Argv)
	a.UserAgent = x.Text(a.UserAgent)
	a.Names = each(a.Names, x.Text)
	a.Extra = x.extra(a.Extra)
	a.Doubts = each(a.Doubts, x.Text)
	if a.Impersonator != nil {
		i := *a.Impersonator
		i.Extra = x.extra(i.Extra)
		a.Impersonator = &i
	}
	return a
}

func (x *Redactor) process(p session.Process) session.Process {
	p.Argv = x.hashed(p.Argv, &p.ArgvHash)
	p.Execs = each(p.Execs, func(e session.Program) session.Program {
		e.Argv = x.Args(e.Argv)
		return e
	})
	return p
}

// hashed redacts arguments and, where there was something, their hash: it would
// tell a guess from the truth.
func (x *Redactor) hashed(argv []string, hash *string) []string {
	out := x.Args(argv)
	if !slices.Equal(out, argv) {
		*hash = ""
	}
	return out
}

func (x *Redactor) labels(in map[string]string) map[string]string {
	out := maps.Clone(in)
	for k, v := range out {
		out[k] = x.Value(k, v)
	}
	return out
}

func (x *Redactor) extra(in map[string][]string) map[string][]string {
	out := maps.Clone(in)
	for k, list := range out {
		out[k] = each(list, func(v string) string { return x.Value(k, v) })
	}
	return out
}

// Finding returns f without secrets.
func (x *Redactor) Finding(f finding.Finding) finding.Finding {
	f.Message = x.Text(f.Message)
	f.Command = x.Args(f.Command)
	if f.Actor != nil {
		a := *f.Actor
		a.Doubts = each(a.Doubts, x.Text)
		f.Actor = &a
	}
	if f.Target != nil {
		t := *f.Target
		t.Object = x.Text(t.Object)
		f.Target = &t
	}
	f.Evidence = each(f.Evidence, func(e finding.Evidence) finding.Evidence {
		e.What, e.Detail = x.Text(e.What), x.Text(e.Detail)
		return e
	})
	return f
}

// each converts a list into a new one; nil stays nil.
func each[T any](list []T, convert func(T) T) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = convert(v)
	}
	return out
}
