package truth

import (
	"fmt"

	"github.com/sallyport/sallyport/internal/core/session"
)

// Failure is one deed that was missed or misjudged, or a session too many.
type Failure struct {
	What    string           `json:"what"`
	Deed    *Deed            `json:"deed,omitempty"`
	Session *session.Session `json:"session,omitempty"`
}

// String is one line; the JSON form has everything.
func (f Failure) String() string {
	line := f.What
	if d := f.Deed; d != nil {
		line += fmt.Sprintf(": %s, nonce %s, process %s", d.Door, d.Nonce, d.Process)
		for _, p := range d.By {
			line += ", truly by " + p.String()
		}
	}
	if s := f.Session; s != nil {
		line += fmt.Sprintf("; session %s: %s %s %s", s.ID, s.Kind, s.Channel, s.Attribution.Level)
		if named(s.Actor) {
			line += ", " + nameOf(s.Actor)
		}
		line += fmt.Sprintf(", %d candidates", len(s.Attribution.Candidates))
	}
	return line
}

// nameOf is an actor in a log line.
func nameOf(a session.Actor) string {
	switch {
	case a.Service != "":
		return string(a.Service) + " itself"
	case a.UID != nil:
		return Person{UID: *a.UID, Login: a.LoginUID, PIDs: []uint32{a.PID}}.String()
	case a.Impersonator != nil:
		return Person{User: a.User, Impersonator: a.Impersonator.User}.String()
	default:
		return Person{User: a.User}.String()
	}
}
