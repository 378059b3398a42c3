package door

import (
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// libpod begins the paths of Podman's own API, behind the version.
const libpod = "/libpod"

// libpodTable has the routes of Podman's own API, as version 4.3 has them
// (podman, pkg/api/server). What does the same as a route of Docker's is of its
// channel.
func libpodTable() []entry {
	var t []entry
	add := func(more []entry) { t = append(t, more...) }
	const change, request = session.KindChange, session.KindRequest

	add(containerTable(libpod, libpodCreate, libpodExecStart))
	add(one("POST /libpod/containers/*/init", route{channel: event.ChannelDockerStart, kind: session.KindStart, empty: true}))
	add(one("GET /libpod/containers/*/healthcheck", route{channel: event.ChannelDockerHealth, kind: session.KindHealthcheck}))
	add(one("POST /libpod/commit", route{channel: event.ChannelDockerCommit, kind: change, empty: true}))
	add(one("POST /libpod/containers/*/update", route{channel: event.ChannelDockerUpdate, kind: change, body: libpodUpdate}))
	add(one("POST /libpod/volumes/create", route{channel: event.ChannelDockerVolume, kind: change, body: libpodVolume}))
	add(one("POST /libpod/pods/create", route{channel: event.ChannelDockerRun, kind: change, body: libpodPod}))
	// What is restored may come with the request, under a name that nobody has yet.
	add(one("POST /libpod/containers/*/restore", route{channel: event.ChannelDockerCkpt, kind: change, names: other}))

	add(on(event.ChannelDockerCkpt, change, "POST /libpod/containers/*/checkpoint"))
	add(on(event.ChannelDockerBuild, change, "POST /libpod/build"))
	add(on(event.ChannelDockerImage, change, "POST /libpod/images/load", "POST /libpod/images/import", "POST /libpod/images/**/tag",
		"POST /libpod/manifests/**", "PUT /libpod/manifests/**"))
	// A secret's driver may be a program of the host.
	add(on(event.ChannelDockerSwarm, change, "POST /libpod/secrets/create"))
	// Each of these starts whatever containers there are in a pod, or in a file.
	add(on(event.ChannelPodmanAPI, change, "POST /libpod/play/kube", "POST /libpod/kube/play", "DELETE /libpod/play/kube",
		"DELETE /libpod/kube/play", "POST /libpod/pods/*/start", "POST /libpod/pods/*/restart"))

	add(on(event.ChannelDockerTop, request, "GET /libpod/containers/*/top", "GET /libpod/pods/*/top"))
	add(on(event.ChannelDockerKill, request, "POST /libpod/containers/*/kill", "POST /libpod/pods/*/kill"))
	add(on(event.ChannelDockerPause, request, "POST /libpod/containers/*/pause", "POST /libpod/containers/*/unpause",
		"POST /libpod/pods/*/pause", "POST /libpod/pods/*/unpause"))
	add(on(event.ChannelDockerRename, request, "POST /libpod/containers/*/rename"))
	add(on(event.ChannelDockerAPI, request, "POST /libpod/containers/*/stop", "POST /libpod/containers/prune", "DELETE /libpod/containers/*",
		"POST /libpod/containers/*/mount", "POST /libpod/containers/*/unmount", "POST /libpod/images/prune", "POST /libpod/images/**/push",
		"POST /libpod/images/**/untag", "DELETE /libpod/images/**", "DELETE /libpod/manifests/**", "POST /libpod/networks/create",
		"POST /libpod/networks/prune", "POST /libpod/networks/*/connect", "POST /libpod/networks/*/disconnect", "DELETE /libpod/networks/*",
		"POST /libpod/pods/*/stop", "POST /libpod/pods/prune", "DELETE /libpod/pods/*", "DELETE /libpod/secrets/*",
		"POST /libpod/volumes/prune", "DELETE /libpod/volumes/*", "POST /libpod/system/prune"))
	add(on(event.ChannelDockerRead, request, "GET /libpod/_ping", "HEAD /libpod/_ping", "GET /libpod/version", "GET /libpod/info", "GET /libpod/events",
		"GET /libpod/containers/json", "GET /libpod/containers/showmounted", "GET /libpod/containers/stats", "GET /libpod/containers/*/json",
		"GET /libpod/containers/*/exists", "GET /libpod/containers/*/logs", "GET /libpod/containers/*/stats", "GET /libpod/containers/*/changes",
		"HEAD /libpod/containers/*/archive", "POST /libpod/containers/*/wait", "POST /libpod/containers/*/shouldrestart",
		"POST /libpod/containers/*/resize", "POST /libpod/exec/*/resize", "GET /libpod/exec/*/json", "GET /libpod/generate/kube",
		"GET /libpod/kube/generate", "GET /libpod/generate/*/systemd", "POST /libpod/images/pull", "GET /libpod/images/json",
		"GET /libpod/images/search", "GET /libpod/images/export", "GET /libpod/images/**/json", "GET /libpod/images/**/exists",
		"GET /libpod/images/**/get", "GET /libpod/images/**/history", "GET /libpod/images/**/tree", "GET /libpod/images/*/changes",
		"GET /libpod/manifests/**/json", "GET /libpod/manifests/**/exists", "GET /libpod/networks/json", "GET /libpod/networks/*",
		"GET /libpod/networks/*/json", "GET /libpod/networks/*/exists", "GET /libpod/pods/json", "GET /libpod/pods/stats",
		"GET /libpod/pods/*/json", "GET /libpod/pods/*/exists", "GET /libpod/secrets/json", "GET /libpod/secrets/*/json",
		"GET /libpod/secrets/*/exists", "GET /libpod/system/df", "GET /libpod/volumes/json", "GET /libpod/volumes/*/json",
		"GET /libpod/volumes/*/exists"))
	return t
}

// isLibpod reports whether a request is one of Podman's own API.
func (a *asked) isLibpod() bool { return strings.HasPrefix(a.path, libpod+"/") }

// isLibpodVersion reports whether s is MAJOR.MINOR.PATCH, with or without what
// follows it in versions under development ("4.4.0-dev").
func isLibpodVersion(s string) bool {
	s, more, suffixed := strings.Cut(s, "-")
	major, rest, _ := strings.Cut(s, ".")
	minor, patch, ok := strings.Cut(rest, ".")
	return ok && digits(major) && digits(minor) && digits(patch) && (!suffixed || isRef(more) && len(more) < 32)
}
