package docker

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/moby/moby/api/types/events"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/plainjson"
)

// EventLog makes observations of what `docker events --format '{{json .}}'`
// printed, or of any other record of the API's event stream. It is not safe for
// concurrent use.
//
// Nobody can be asked any more what labels a container has, and labels overwrite
// attributes (channels.md §1, fact 6). The events of the container itself carry
// its labels, so an attribute that has the value of a label is known to be
// forged once one of those was read. Before that, an exec id that a second exec
// of the container repeats is.
type EventLog struct {
	greeted bool
	other   int
	labels  map[event.ContainerID]forgeable
	created map[string]bool // container and exec id of the creates so far
}

// NewEventLog returns a reader.
func NewEventLog() *EventLog {
	return &EventLog{labels: map[event.ContainerID]forgeable{}, created: map[string]bool{}}
}

const (
	loggedMax    = 1 << 16 // containers and execs that an EventLog remembers
	eventLogMark = `"Actor"`
)

// SniffEvent reports whether a record is an event of Docker's.
func SniffEvent(record []byte) bool {
	var m events.Message
	return bytes.Contains(record, []byte(eventLogMark)) && json.Unmarshal(record, &m) == nil && m.Type != "" && m.Action != ""
}

// Inside is always 0: events are not about processes.
func (l *EventLog) Inside() int { return 0 }

// Other counts events that concern no container.
func (l *EventLog) Other() int { return l.other }

var errNoMessage = errors.New("no event of Docker's: type, action, id or time is missing")

// Record reads one event.
func (l *EventLog) Record(data []byte) ([]event.Observation, error) {
	var m events.Message
	if err := plainjson.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	switch {
	case m.Type == "" || m.Action == "" || m.Time == 0 && m.TimeNano == 0:
		return nil, errNoMessage
	case m.Type != events.ContainerEventType:
		l.other++
		return nil, nil
	case m.Actor.ID == "":
		return nil, errNoMessage
	}
	o := translate(&m)
	o.Forged = l.forged(&m, &o)
	if l.greeted {
		return []event.Observation{o}, nil
	}
	l.greeted = true
	return []event.Observation{event.WitnessState{
		Header: header(o.Time), From: o.Time, Up: true, Partial: true, Lacks: []string{"who asked", "where one argument ends", "pids"},
	}, o}, nil
}

func (l *EventLog) forged(m *events.Message, o *event.DockerEvent) []string {
	if len(l.labels) > loggedMax || len(l.created) > loggedMax {
		clear(l.labels)
		clear(l.created)
	}
	if f, ok := forgeableIn(m); ok {
		l.labels[o.Container] = f
	}
	if f, known := l.labels[o.Container]; known {
		return f.forged(m)
	}
	if o.ExecID == "" {
		return nil
	}
	key := string(o.Container) + " " + string(o.ExecID)
	if o.Action == event.DockerExecCreate && l.created[key] {
		l.labels[o.Container] = forgeable{"execID": string(o.ExecID)}
		return []string{"execID"}
	}
	l.created[key] = l.created[key] || o.Action == event.DockerExecCreate
	return nil
}
