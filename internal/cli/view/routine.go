package view

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/kube/audit"
)

// routine returns what makes sessions of daemons that work by themselves alike, ours
// among them, "" for all others. A person reads them as one line; none is left out of
// the store, and one that is unexplained is never routine.
func routine(s *session.Session) string {
	if canary(s) {
		return strings.Join([]string{"canary", s.Actor.User, outcome(s).Text}, "\x00")
	}
	if s.Unexplained.Is || s.Actor.Service == "" || s.Kind != session.KindHealthcheck && s.Kind != session.KindProbe && s.Kind != session.KindHook {
		return ""
	}
	return strings.Join(append([]string{
		string(s.Kind), string(s.Target.ContainerID), string(s.Attribution.Level), outcome(s).Text, strconv.FormatUint(s.LostRecords, 10),
	}, s.Argv...), "\x00")
}

// canary reports whether a session looks like what a sallyport up asks the API server
// for, to hear of it in the audit log: an exec that was refused, in a pod that is not
// there. Whose it is a log does not prove, so it stays a line.
func canary(s *session.Session) bool {
	return s.Kind == session.KindExec && s.State == session.StateFailed && s.Target.Namespace == audit.CanaryNamespace &&
		len(s.Processes) == 0 && slices.Equal(s.Argv, []string{audit.CanaryNamespace})
}

// Row is a session that stands for others like it: the latest of times.
type Row struct {
	session.Session
	times int
}

// Fold puts the routine of daemons into one line each, where the latest stood.
func Fold(rows []session.Session) []Row {
	last := map[string]int{}
	count := map[string]int{}
	for i := range rows {
		if key := routine(&rows[i]); key != "" {
			last[key] = i
			count[key]++
		}
	}
	var out []Row
	for i := range rows {
		key := routine(&rows[i])
		if key == "" {
			out = append(out, Row{rows[i], 1})
		} else if last[key] == i {
			out = append(out, Row{rows[i], count[key]})
		}
	}
	return out
}

// OnePerLine gives every session a line of its own.
func OnePerLine(rows []session.Session) []Row {
	out := make([]Row, len(rows))
	for i, s := range rows {
		out[i] = Row{s, 1}
	}
	return out
}
