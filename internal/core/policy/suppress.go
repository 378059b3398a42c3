package policy

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/policy/key"
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
