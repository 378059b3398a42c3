package finding

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/session"
)

// What a finding repeats of its session's evidence: entries, and bytes of each.
const (
	maxEvidence = 16
	maxDetail   = 1 << 10
)

// About fills in what a finding says of its session: subject, id, time, actor,
// target, command and evidence. Rule must be set.
func (f *Finding) About(s *session.Session) {
	f.Subject, f.Session = string(s.ID), s.ID
	f.ID = NewID(f.Rule, f.Subject)
	f.Time, f.Channel, f.Kind = s.Started, s.Channel, s.Kind
	f.Actor, f.Target = actorOf(s), targetOf(s)
	f.Command, f.CommandTruncated = short(command(s))
	for _, e := range s.Evidence[:min(len(s.Evidence), maxEvidence)] {
		f.Evidence = append(f.Evidence, Evidence{Time: e.Time, Source: string(e.Witness), What: e.What, Detail: cut(e.Detail)})
	}
}

func cut(text string) string {
	if len(text) <= maxDetail {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetail], "") + "…"
}

// command returns what was asked for, or what ran.
func command(s *session.Session) []string {
	if len(s.Argv) == 0 && len(s.Processes) > 0 {
		return s.Processes[0].Argv
	}
	return s.Argv
}

// short returns the first MaxCommand bytes of argv as valid UTF-8, and whether
// there is more.
func short(argv []string) ([]string, bool) {
	var out []string
	room := MaxCommand
	for _, a := range argv {
		cut := a[:min(len(a), room)]
		if room == 0 && len(a) > 0 {
			return out, true
		}
		out = append(out, strings.ToValidUTF8(cut, "\uFFFD"))
		if len(cut) < len(a) {
			return out, true
		}
		room = max(0, room-len(a)-1)
	}
	return out, false
}

func actorOf(s *session.Session) *Actor {
	a := &Actor{
		Kind: s.Actor.Kind, Name: Name(s.Actor), Attribution: s.Attribution.Level, Service: s.Actor.Service,
		Address: s.Actor.Address, Exe: s.Actor.Exe, Container: s.Actor.Container, Doubts: slices.Clone(s.Actor.Doubts),
	}
	if s.Actor.Impersonator != nil {
		a.Impersonator = s.Actor.Impersonator.User
	}
	for _, c := range s.Attribution.Candidates {
		if n := Name(c); n != "" && !slices.Contains(a.Candidates, n) {
			a.Candidates = append(a.Candidates, n)
		}
	}
	return a
}

// Name returns by which name a person knows an actor: the login user where
// there is one, since "root" by sudo is still somebody. It is "" when nobody is
// named.
func Name(a session.Actor) string {
	switch {
	case a.LoginUser != "":
		return a.LoginUser
	case a.User != "":
		return a.User
	case a.UID != nil:
		return "uid " + strconv.FormatUint(uint64(*a.UID), 10)
	}
	return ""
}

func targetOf(s *session.Session) *Target {
	t := s.Target
	return &Target{
		ContainerID: t.ContainerID, ContainerName: t.ContainerName, Image: t.Image,
		Pod: t.Pod, Namespace: t.Namespace, Workload: t.Workload, Node: t.Node,
	}
}
