package docker

import (
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/sallyport/sallyport/internal/core/event"
)

// translate turns a container's event into an observation. What the event's
// attributes say is taken as stated; see forgeable.
func translate(m *events.Message) event.DockerEvent {
	a := m.Actor.Attributes
	o := event.DockerEvent{
		Header:    header(eventTime(m)),
		Container: event.ContainerID(clip(m.Actor.ID, maxName)),
		Name:      clip(a["name"], maxName),
		Image:     clip(a["image"], maxName),
		ExecID:    event.ExecID(clip(a["execID"], maxName)),
	}
	var detail string
	o.Action, detail = action(string(m.Action))
	switch o.Action {
	case event.DockerExecCreate, event.DockerExecStart:
		if len(detail) <= maxArgv {
			o.Command = detail
		}
	case event.DockerHealth:
		o.Health = clip(detail, maxName)
	}
	if code, err := strconv.Atoi(a["exitCode"]); err == nil {
		o.ExitCode = &code
	}
	return o
}

// action splits "exec_create: a b c" into its two parts.
func action(s string) (event.DockerAction, string) {
	verb, detail, _ := strings.Cut(s, ": ")
	switch a := event.DockerAction(verb); a {
	case event.DockerExecCreate, event.DockerExecStart, event.DockerHealth:
		return a, detail
	case event.DockerCreate, event.DockerStart, event.DockerRestart, event.DockerDie, event.DockerDestroy,
		event.DockerRename, event.DockerExecDie, event.DockerExecDetach, event.DockerAttach, event.DockerDetach,
		event.DockerCopyIn, event.DockerCopyOut:
		return a, ""
	case event.DockerOtherAction:
	}
	return event.DockerOtherAction, ""
}

func eventTime(m *events.Message) time.Time {
	if m.TimeNano == 0 {
		return time.Unix(m.Time, 0)
	}
	return time.Unix(0, m.TimeNano)
}

// forgeableKeys are the attributes that a container's labels can overwrite.
var forgeableKeys = [...]string{"execID", "exitCode", "name", "image"}

// forgeable holds the labels of one container that are named like attributes of
// Docker's events: an event in which such an attribute has the label's value
// proves nothing by it.
type forgeable map[string]string

// forgeableOf picks them out of a container's labels.
func forgeableOf(labels map[string]string) forgeable {
	f := forgeable{}
	for _, k := range forgeableKeys {
		if v, ok := labels[k]; ok {
			f[k] = v
		}
	}
	return f
}

// forgeableIn finds them in the attributes of an event to which Docker itself
// adds neither execID nor exitCode. Name and image are Docker's there: it sets
// them over the labels.
func forgeableIn(m *events.Message) (forgeable, bool) {
	switch a, _ := action(string(m.Action)); a {
	case event.DockerCreate, event.DockerStart, event.DockerRestart, event.DockerRename, event.DockerHealth:
	default:
		return nil, false
	}
	f := forgeableOf(m.Actor.Attributes)
	delete(f, "name")
	delete(f, "image")
	return f, true
}

// forged lists the attributes of m that f set.
func (f forgeable) forged(m *events.Message) []string {
	var out []string
	for _, k := range forgeableKeys {
		stated, ok := m.Actor.Attributes[k]
		if set, labelled := f[k]; ok && labelled && set == stated {
			out = append(out, k)
		}
	}
	return out
}

// unvouched lists what labels could have set in m, for a container whose labels
// nobody can tell any more.
func unvouched(m *events.Message) []string {
	var out []string
	for _, k := range forgeableKeys[:2] {
		if _, ok := m.Actor.Attributes[k]; ok {
			out = append(out, k)
		}
	}
	return out
}

// cursor remembers where in the event stream we are.
type cursor struct {
	seed   maphash.Seed
	recent [4 * ring]uint64
	next   int
	known  map[uint64]bool // the keys in recent
	last   uint64          // key of the event received last, 0 before the first
	at     time.Time       // its time
}

// ring is how many events a daemon keeps for those who ask for the past, of all
// types together (eventsLimit in moby, daemon/events).
const ring = 256

func newCursor() *cursor {
	return &cursor{seed: maphash.MakeSeed(), known: map[uint64]bool{}}
}

// key identifies an event. The time in nanoseconds makes it unique in practice.
func (c *cursor) key(m *events.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, s := range []string{
		string(m.Type), string(m.Action), m.Actor.ID, m.Actor.Attributes["execID"],
		strconv.FormatInt(m.Time, 10), strconv.FormatInt(m.TimeNano, 10),
	} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	return h.Sum64() | 1
}

// pass records m and reports whether it is new.
func (c *cursor) pass(m *events.Message) bool {
	k := c.key(m)
	if c.known[k] {
		return false
	}
	delete(c.known, c.recent[c.next])
	c.recent[c.next] = k
	c.known[k] = true
	c.next = (c.next + 1) % len(c.recent)
	c.last, c.at = k, eventTime(m)
	return true
}
