package field

import (
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Kinds returns the kinds of sessions that there are.
func Kinds() []session.Kind {
	return []session.Kind{
		session.KindStart, session.KindExec, session.KindAttach, session.KindHealthcheck, session.KindEnter, session.KindRuntime,
		session.KindCopy, session.KindProbe, session.KindHook, session.KindDebug, session.KindForward, session.KindProxy,
		session.KindChange, session.KindIdentity, session.KindDoor, session.KindRequest,
	}
}

// Channels returns the ids of the catalogue and that of no known channel.
func Channels() []event.Channel {
	out := []event.Channel{event.ChannelUnknown}
	for _, c := range attack.Channels() {
		out = append(out, c.ID)
	}
	return out
}

// Enums returns the values of fields that have only a few, by their paths.
func Enums() map[string][]string {
	text := func(of ...any) []string {
		out := make([]string, len(of))
		for i, v := range of {
			out[i] = fmt.Sprint(v)
		}
		return out
	}
	all := map[string][]string{
		"state":             text(session.StateRunning, session.StateEnded, session.StateFailed, session.StateWaiting, session.StateUnknown),
		"attribution.level": text(session.LevelExact, session.LevelStrong, session.LevelSet, session.LevelNone),
		"actor.kind":        text(session.ActorUnix, session.ActorKubernetes, session.ActorTLS, session.ActorNone),
		"direction":         {"in", "out"},
		"argv_source":       {"request", "inspect", "process", "event", "log"},
	}
	for _, r := range attack.AllAPIRequests() {
		for path, v := range map[string]string{"api.group": r.Group, "api.resource": r.Resource, "api.subresource": r.Subresource} {
			if v != "" && !slices.Contains(all[path], v) {
				all[path] = append(all[path], v)
			}
		}
	}
	for _, k := range Kinds() {
		all["kind"] = append(all["kind"], string(k))
	}
	for _, c := range Channels() {
		all["channel"] = append(all["channel"], string(c))
	}
	return all
}
