package store

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Query selects sessions. The zero Query selects all but superseded ones.
type Query struct {
	// Since and Until bound Session.Started: Since <= started < Until. Zero
	// means no bound.
	Since, Until time.Time
	// Actor is a user name, a uid or a login user, of the actor or of any
	// candidate.
	Actor string
	// Container is the beginning of a container id, or a whole name.
	Container string
	Channel   string
	Kind      string
	// Unexplained selects only unexplained sessions.
	Unexplained bool
	// Limit, when positive, keeps only that many, the latest to start.
	Limit int
}

// identities lists what Query.Actor is compared with.
func identities(s session.Session) []string {
	var out []string
	for _, a := range append([]session.Actor{s.Actor}, s.Attribution.Candidates...) {
		out = append(out, a.User, a.LoginUser)
		if a.UID != nil {
			out = append(out, strconv.FormatUint(uint64(*a.UID), 10))
		}
		if a.LoginUID != nil {
			out = append(out, strconv.FormatUint(uint64(*a.LoginUID), 10))
		}
	}
	return out
}

// words joins strings for a first, coarse search in SQL: the sequence
// "\nWORD\n" occurs wherever a word is in the list. Words may hold newlines
// themselves, so a hit is checked again with matches.
func words(list ...string) []byte {
	var b bytes.Buffer
	seen := make(map[string]bool, len(list))
	for _, w := range list {
		if w != "" && !seen[w] {
			seen[w] = true
			b.WriteByte('\n')
			b.WriteString(w)
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return append([]byte{}, b.Bytes()...) // never nil, which would be NULL
}

// matches decides what the coarse search in SQL cannot.
func (q Query) matches(s session.Session) bool {
	if q.Actor != "" {
		found := false
		for _, id := range identities(s) {
			found = found || id == q.Actor
		}
		if !found {
			return false
		}
	}
	return q.Container == "" || s.Target.ContainerName == q.Container ||
		strings.HasPrefix(string(s.Target.ContainerID), q.Container)
}

// where returns the SQL condition of the coarse search.
func (q Query) where() (cond string, args []any) {
	cond = "superseded = 0"
	add := func(c string, arg any) {
		cond += " AND " + c
		args = append(args, arg)
	}
	if !q.Since.IsZero() {
		add("started >= ?", nanos(q.Since))
	}
	if !q.Until.IsZero() {
		add("started < ?", nanos(q.Until))
	}
	if q.Channel != "" {
		add("channel = ?", q.Channel)
	}
	if q.Kind != "" {
		add("session.kind = ?", q.Kind)
	}
	if q.Unexplained {
		cond += " AND unexplained = 1"
	}
	if q.Actor != "" {
		add("instr(actors, ?) > 0", []byte("\n"+q.Actor+"\n"))
	}
	if q.Container != "" {
		add("instr(container, ?) > 0", []byte("\n"+q.Container))
	}
	return cond, args
}
