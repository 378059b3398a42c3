package field

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/policy/value"
)

// never says which fields no session of a channel can have, by the first part
// of the channel's id; a field of this list covers those below it.
var never = map[string][]string{
	"DK": {
		"target.namespace", "target.pod", "target.pod_uid", "target.workload", "audit_id",
		"actor.kubernetes_uid", "actor.groups", "actor.extra", "actor.impersonator", "actor.deputy",
	},
	"RT": {"audit_id", "actor.kubernetes_uid", "actor.groups", "actor.extra", "actor.impersonator", "actor.deputy", "settings"},
	"HO": {
		"audit_id", "exec_id", "actor.kubernetes_uid", "actor.groups", "actor.extra", "actor.impersonator", "actor.deputy",
		"path", "direction", "settings",
	},
	"K8": {"actor.uid", "actor.login_uid", "actor.login_user", "actor.pid", "actor.exe", "actor.argv", "user", "privileged"},
}

// withPath lists the channels of which sessions have a path; what is copied has
// a direction, too.
var (
	withPath = []event.Channel{
		"DK-ARCHIVE", "DK-COMMIT", "DK-IMAGE", "DK-BUILD", "DK-SWARM", "DK-PLUGIN", "DK-CKPT", "DK-UPDATE", "DK-KILL", "DK-PAUSE",
		"DK-RENAME", "DK-TOP", "DK-VOL", "DK-API", "DK-READ", "K8-CP", "K8-PPROXY", "K8-SPROXY", "K8-NPROXY-EXEC", "K8-NPROXY-RUN",
	}
	withDirection = []event.Channel{"DK-ARCHIVE", "K8-CP"}
)

// Supplies reports whether a session of a channel can have a field.
func Supplies(c event.Channel, path string) bool {
	if c == event.ChannelUnknown {
		return true
	}
	switch path {
	case "path":
		return slices.Contains(withPath, c)
	case "direction":
		return slices.Contains(withDirection, c)
	}
	if path == "verb" || strings.HasPrefix(path, "api.") {
		return attack.MayBeAPIRequest(c)
	}
	return !slices.ContainsFunc(never[family(c)], func(n string) bool { return path == n || strings.HasPrefix(path, n+".") })
}

// OnChannel returns what is known of every session of a channel, as a Probe takes
// it; of fields that the channel never has, only those named.
func OnChannel(c event.Channel, named ...string) map[string]ref.Val {
	out := make(map[string]ref.Val)
	for _, path := range named {
		if Supplies(c, path) {
			continue
		}
		out[path] = value.Absent
		if f := valueWhenAbsent[path]; f != nil {
			out[path] = f
		}
	}
	maps.Copy(out, apiOn(c))
	out["channel"] = types.String(c)
	return out
}

// valueWhenAbsent has the fields that have a value all the same, which has() says
// of them, too: flags.
var valueWhenAbsent = map[string]ref.Val{"actor.deputy": types.False, "privileged": types.False}
