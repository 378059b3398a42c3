package containerd

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	events "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/internal/core/event"
)

// maxID bounds an id or a namespace, in bytes. containerd's own limit is 76.
const maxID = 1 << 10

// decode turns an entry of the event stream into an observation. ok is false
// for entries that concern no command. An entry without a usable time gets
// received, the time it came.
func decode(env *types.Envelope, received time.Time) (e event.RuntimeEvent, ok bool, err error) {
	e, ok, err = decodeBody(env.GetEvent().GetTypeUrl(), env.GetEvent().GetValue())
	if err != nil {
		return event.RuntimeEvent{}, false, fmt.Errorf("decode containerd event %.100q: %w", env.GetTopic(), err)
	}
	if !ok {
		return event.RuntimeEvent{}, false, nil
	}
	if ids := []string{env.GetNamespace(), string(e.Container)}; !plausible(ids...) || len(e.ExecID) > maxID {
		return event.RuntimeEvent{}, false, fmt.Errorf("decode containerd event %.100q: empty or oversized id", env.GetTopic())
	}
	e.Namespace = env.GetNamespace()
	e.Header = header(received)
	if ts := env.GetTimestamp(); ts.IsValid() && ts.GetSeconds() > 0 {
		e.Header = header(ts.AsTime())
	}
	return e, true, nil
}

// plausible reports whether every id is neither empty nor too long.
func plausible(ids ...string) bool {
	for _, id := range ids {
		if id == "" || len(id) > maxID {
			return false
		}
	}
	return true
}

// errPID says that a pid cannot be one.
var errPID = errors.New("pid out of range")

// decodeBody decodes the body by its type's name, "containerd.events.TaskExit",
// with or without the "types.googleapis.com/" that some senders put before it.
func decodeBody(typeURL string, body []byte) (e event.RuntimeEvent, ok bool, err error) {
	switch typeURL[strings.LastIndexByte(typeURL, '/')+1:] {
	case "containerd.events.TaskCreate":
		var m events.TaskCreate
		err = proto.Unmarshal(body, &m)
		e = event.RuntimeEvent{Action: event.RuntimeCreate, Container: event.ContainerID(m.GetContainerID()), PID: m.GetPid()}
	case "containerd.events.TaskStart":
		var m events.TaskStart
		err = proto.Unmarshal(body, &m)
		e = event.RuntimeEvent{Action: event.RuntimeStart, Container: event.ContainerID(m.GetContainerID()), PID: m.GetPid()}
	case "containerd.events.TaskExecAdded":
		var m events.TaskExecAdded
		err = proto.Unmarshal(body, &m)
		e = event.RuntimeEvent{Action: event.RuntimeExecAdded, Container: event.ContainerID(m.GetContainerID()), ExecID: event.ExecID(m.GetExecID())}
	case "containerd.events.TaskExecStarted":
		var m events.TaskExecStarted
		err = proto.Unmarshal(body, &m)
		e = event.RuntimeEvent{Action: event.RuntimeExecStarted, Container: event.ContainerID(m.GetContainerID()), ExecID: event.ExecID(m.GetExecID()), PID: m.GetPid()}
	case "containerd.events.TaskExit":
		var m events.TaskExit
		err = proto.Unmarshal(body, &m)
		e = exit(&m)
	case "containerd.events.TaskDelete":
		var m events.TaskDelete
		err = proto.Unmarshal(body, &m)
		e = taskDelete(&m)
	default:
		return e, false, nil
	}
	if err == nil && e.PID > math.MaxInt32 {
		err = errPID
	}
	return e, err == nil, err
}

// decodeContainer decodes the entries about containers: which one, and whether
// it was made or deleted. ok is false for all others and for what is damaged.
func decodeContainer(typeURL string, body []byte) (id event.ContainerID, made, ok bool) {
	switch typeURL[strings.LastIndexByte(typeURL, '/')+1:] {
	case "containerd.events.ContainerCreate":
		var m events.ContainerCreate
		ok = proto.Unmarshal(body, &m) == nil
		return event.ContainerID(m.GetID()), true, ok
	case "containerd.events.ContainerDelete":
		var m events.ContainerDelete
		ok = proto.Unmarshal(body, &m) == nil
		return event.ContainerID(m.GetID()), false, ok
	}
	return "", false, false
}

func exit(m *events.TaskExit) event.RuntimeEvent {
	code := int(m.GetExitStatus())
	e := event.RuntimeEvent{
		Action: event.RuntimeExit, Container: event.ContainerID(m.GetContainerID()),
		ExecID: execID(m.GetContainerID(), m.GetID()), PID: m.GetPid(), ExitCode: &code,
	}
	if t := m.GetExitedAt(); t.IsValid() && t.GetSeconds() > 0 {
		e.ExitedAt = t.AsTime().UTC()
	}
	return e
}

// taskDelete is also sent when an exec is deleted, with its id.
func taskDelete(m *events.TaskDelete) event.RuntimeEvent {
	code := int(m.GetExitStatus())
	e := event.RuntimeEvent{
		Action: event.RuntimeDelete, Container: event.ContainerID(m.GetContainerID()),
		ExecID: execID(m.GetContainerID(), m.GetID()), PID: m.GetPid(), ExitCode: &code,
	}
	if t := m.GetExitedAt(); t.IsValid() && t.GetSeconds() > 0 {
		e.ExitedAt = t.AsTime().UTC()
	}
	return e
}

// execID is the exec that an event with an id is about: none when the id is
// the container's own, which stands for its first process.
func execID(container, id string) event.ExecID {
	if id == container {
		return ""
	}
	return event.ExecID(id)
}
