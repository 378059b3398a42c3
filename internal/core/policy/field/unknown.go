package field

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
)

// unknowns holds, by path below "session", the value that says that nobody
// knows a field, for all that can be unknown: lint asks, and making one takes time.
var unknowns = makeUnknowns(
	"created", "argv", "command", "tty", "stdin", "user", "privileged", "state", "ended", "exit_code", "processes", "processes_total", "programs",
	"carried", "settings",
	"actor.kind", "actor.user", "actor.uid", "actor.login_uid", "actor.login_user", "actor.pid", "actor.exe", "actor.argv",
	"actor.address", "actor.service", "actor.user_agent", "actor.names", "actor.container", "actor.session", "actor.kubernetes_uid",
	"actor.groups", "actor.extra", "actor.impersonator", "actor.deputy", "actor.identity",
	"target.container_id", "target.container_name", "target.image", "target.image_id", "target.labels",
	"target.pod", "target.pod_uid", "target.namespace", "target.host_access",
	"target.host_access.privileged", "target.host_access.namespaces", "target.host_access.capabilities", "target.host_access.devices",
	"target.host_access.paths",
	"verb", "api.group", "api.resource", "api.subresource", "api.name", "api.user", "api.groups", "api.impersonated",
)

// ofElements holds those of what stands in lists.
var ofElements = makeUnknowns(
	"programs.argv", "programs.exe", "programs.name", "programs.command", "programs.parent", "programs.user", "programs.pid", "programs.ppid",
	"programs.upper_layer", "programs.memfd", "processes.argv", "processes.exe", "processes.uid", "processes.gid", "carried.argv",
)

func makeUnknowns(paths ...string) map[string]*types.Unknown {
	out := make(map[string]*types.Unknown, len(paths))
	for _, p := range paths {
		out[p] = newUnknown(p)
	}
	return out
}

// MayBeUnknown reports whether there are sessions of which a field is unknown,
// though there is what it is a field of.
func MayBeUnknown(path string) bool { return unknowns[path] != nil }

// Unknown returns the value of a field that nobody knows, by its path below
// "session".
func Unknown(path string) *types.Unknown {
	if u := cmp.Or(unknowns[path], ofElements[path]); u != nil {
		return u
	}
	return newUnknown(path)
}

// newUnknown numbers the value by its path, so that merging two of one field
// gives one.
func newUnknown(path string) *types.Unknown {
	h := fnv.New64a()
	h.Write([]byte(path))
	trail := types.NewAttributeTrail("session")
	for p := range strings.SplitSeq(path, ".") {
		types.QualifyAttribute(trail, p)
	}
	return types.NewUnknown(int64(h.Sum64()), trail)
}

// Paths names the fields that values are unknown for, in order.
func Paths(all ...*types.Unknown) []string {
	var out []string
	for _, u := range all {
		for _, id := range u.IDs() {
			trails, _ := u.GetAttributeTrails(id)
			for _, t := range trails {
				if s := t.String(); !slices.Contains(out, s) {
					out = append(out, s)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}
