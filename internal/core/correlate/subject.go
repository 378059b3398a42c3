package correlate

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// A subject is something that can turn out to be a session: an exec, a run of
// a container, an entry, a stream.
type subject interface {
	state() *state
	// derive makes of s, which is empty, the session that the facts come to. It
	// returns false when the subject is not a session of its own: nothing ran
	// yet, or another subject accounts for it.
	derive(e *Engine, s *session.Session) bool
	// forget takes the subject out of the engine's indexes.
	forget(e *Engine)
}

// state is where a subject stands in being published.
type state struct {
	firstSeen time.Time // engine time of the first fact
	lastSeen  time.Time // engine time of the last fact
	dueAt     time.Time
	queued    int       // at which place of the queue, from 1 on; 0 when not in it
	lookAt    time.Time // when what is not known yet will count as absent
	expires   bool      // nothing is left to derive: forget it when due
	crowded   bool      // of its process tree hardly more than the size can change
	published *session.Session
	derivedAt time.Time // engine time of the last look; zero before the first
	cri       criSettled
	gone      bool
}

func targetOf(c subject) event.ContainerID {
	switch c := c.(type) {
	case *exec:
		return c.container
	case *run:
		return c.key.container
	case *entry:
		return c.where
	case *stream:
		return c.container
	case *refusal:
		return c.container
	case *verdict:
		return c.Container
	case *call, *orphan, *rebuff:
	}
	return ""
}

// open returns every subject, in no order.
func (e *Engine) open() []subject {
	var out []subject
	for _, x := range e.inside.execs.byKey {
		out = append(out, x)
	}
	for _, r := range e.inside.runs.byKey {
		out = append(out, r)
	}
	for _, n := range e.inside.entries.byRoot {
		out = append(out, n)
	}
	for _, s := range e.streams.byID {
		out = append(out, s)
	}
	for _, r := range e.doors.rebuffs {
		out = append(out, r)
	}
	for _, list := range e.doors.verdicts.byContainer {
		for _, v := range list {
			if v.Stopped {
				out = append(out, v)
			}
		}
	}
	for _, c := range e.kube.byKey {
		out = append(out, c)
	}
	for _, q := range e.doors.requests.byID {
		if q.refused != nil {
			out = append(out, q.refused)
		}
	}
	return out
}

// before orders subjects by when they came up, then by id.
func before(a, b subject) int {
	if d := a.state().firstSeen.Compare(b.state().firstSeen); d != 0 {
		return d
	}
	return cmp.Compare(sortKey(a), sortKey(b))
}

func sortKey(c subject) string {
	switch c := c.(type) {
	case *exec:
		return "exec " + string(c.key.container) + " " + string(c.key.id)
	case *run:
		return "run " + c.key.String()
	case *entry:
		return "entry " + c.root.String()
	case *stream:
		return "stream " + c.key()
	case *refusal:
		return "refusal " + c.key()
	case *verdict:
		return "verdict " + c.key()
	case *rebuff:
		return "rebuff " + c.key.process.String() + " " + string(c.key.socket)
	case *call:
		return "call " + string(c.sessionID())
	case *orphan:
		return "orphan " + string(c.old.ID)
	}
	return ""
}

// idText is base32 in lower case, without the letters that read like digits.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// sessionID derives a session's id from what makes it that session.
func sessionID(parts ...string) session.ID {
	var room [512]byte
	b := append(room[:0], parts[0]...)
	for _, p := range parts[1:] {
		b = append(append(b, 0), p...)
	}
	sum := sha256.Sum256(b)
	return session.ID(idText.EncodeToString(sum[:10]))
}
