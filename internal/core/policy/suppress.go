package policy

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/core/policy/key"
	"github.com/sallyport/sallyport/internal/core/policy/source"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Suppression says that a rule does not hold for one identity running one
// command in one workload, who said so, why, and until when.
type Suppression struct {
	Rule     string    `json:"rule"`
	File     string    `json:"file"`
	Line     int       `json:"line"`
	Owner    string    `json:"owner"`
	Reason   string    `json:"reason"`
	Expires  time.Time `json:"expires"`
	Actor    string    `json:"actor"`     // as key.Identity returns it
	Workload string    `json:"workload"`  // as key.Workload returns it
	ArgvHash string    `json:"argv_hash"` // as key.ArgvHash returns it
}

type suppression struct {
	Suppression
	column int
}

// covers reports whether a session is one that the suppression is about. It
// needs all three to be known: a guess at who asked suppresses nothing. Time is
// the session's own.
func (x *suppression) covers(s *session.Session) bool {
	level := s.Attribution.Level
	return s.Started.Before(x.Expires) &&
		(level == session.LevelExact || level == session.LevelStrong) &&
		x.Actor == key.Identity(s.Actor) && x.Workload == key.Workload(s.Target) && x.ArgvHash == key.ArgvHash(s)
}

// suppressed reports whether one of the rule's suppressions covers a session.
func (r *rule) suppressed(s *session.Session) bool {
	for _, x := range r.suppressions {
		if x.covers(s) {
			return true
		}
	}
	return false
}

func (l *loader) suppression(r *source.Reader, n *yaml.Node, rule string) {
	known := []string{"rule", "owner", "reason", "expires", "actor", "workload", "argv_hash"}
	if rule != "" {
		known = known[1:]
	}
	keys := r.Mapping(n, known...)
	for _, k := range known {
		if keys[k] == nil {
			r.Errorf(n, "it is keyed on actor, workload and argv_hash together; `sallyport rules explain` prints them for a session",
				"a suppression without %s", k)
			return
		}
	}
	x := suppression{Suppression{
		Rule: rule, File: r.File, Line: n.Line, Owner: r.Text(keys["owner"]), Reason: r.Text(keys["reason"]),
		Expires: r.Day(keys["expires"]), Actor: r.Text(keys["actor"]), Workload: r.Text(keys["workload"]),
		ArgvHash: strings.ToLower(r.Text(keys["argv_hash"])),
	}, n.Column}
	if rule == "" {
		x.Rule = r.Name(keys["rule"])
	}
	if !isHash(x.ArgvHash) {
		r.Errorf(keys["argv_hash"], "", "want the SHA-256 of the argument list, 64 hex digits")
		return
	}
	copied := *r
	l.suppress, l.places = append(l.suppress, x), append(l.places, &copied)
}

func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
