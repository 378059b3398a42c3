package attack

import (
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// APIRequest is a kind of request to the Kubernetes API server of which sessions
// are made, in the words of an audit event.
type APIRequest struct {
	// Verbs are those that it can have.
	Verbs []string
	// Group is the API group, "" for the core.
	Group, Resource, Subresource string
	// Object is the kind of object that is made or changed; "" where none is.
	Object string
}

var (
	byPost   = []string{"create"}
	byGet    = []string{"get"}
	byStream = []string{"create", "get"}
	byHTTP   = []string{"create", "delete", "get", "patch", "update"}
	written  = []string{"create", "patch", "update"}
	changed  = []string{"patch", "update"}
)

func podRequest(verbs []string, subresource string) []APIRequest {
	r := APIRequest{Verbs: verbs, Resource: "pods", Subresource: subresource}
	if subresource == "" {
		r.Object = "Pod"
	}
	return []APIRequest{r}
}

var cronRequest = APIRequest{Verbs: written, Group: "batch", Resource: "cronjobs", Object: "CronJob"}

// apiRequests says for each channel what request its sessions are made of.
// Sessions of containers that started are of the request that made their pod:
// see APIRequests.
var apiRequests = map[event.Channel][]APIRequest{
	event.ChannelKubeExecSPDY:     podRequest(byPost, "exec"),
	event.ChannelKubeExecWS:       podRequest(byGet, "exec"),
	event.ChannelKubeCopy:         podRequest(byStream, "exec"),
	event.ChannelKubeAttach:       podRequest(byPost, "attach"),
	event.ChannelKubeAttachWS:     podRequest(byGet, "attach"),
	event.ChannelKubeForward:      podRequest(byStream, "portforward"),
	event.ChannelKubePodProxy:     podRequest(byHTTP, "proxy"),
	event.ChannelKubeServiceProxy: {{Verbs: byHTTP, Resource: "services", Subresource: "proxy"}},
	event.ChannelKubeNodeExec:     {{Verbs: byHTTP, Resource: "nodes", Subresource: "proxy"}},
	event.ChannelKubeNodeRun:      {{Verbs: byHTTP, Resource: "nodes", Subresource: "proxy"}},
	event.ChannelKubeEphemeral:    podRequest(changed, "ephemeralcontainers"),
	event.ChannelKubeDebugNode:    podRequest(byPost, ""),
	event.ChannelKubePod:          podRequest(byPost, ""),
	event.ChannelKubeletStatic:    podRequest(byPost, ""),
	event.ChannelKubePatchImage:   podRequest(changed, ""),
	event.ChannelKubeCron:         {cronRequest},
	event.ChannelKubeWorkload: {
		{Verbs: written, Group: "apps", Resource: "deployments", Object: "Deployment"},
		{Verbs: written, Group: "apps", Resource: "daemonsets", Object: "DaemonSet"},
		{Verbs: written, Group: "apps", Resource: "statefulsets", Object: "StatefulSet"},
		{Verbs: written, Group: "apps", Resource: "replicasets", Object: "ReplicaSet"},
		{Verbs: written, Group: "batch", Resource: "jobs", Object: "Job"},
		{Verbs: written, Resource: "replicationcontrollers", Object: "ReplicationController"},
	},
}

// startedBy lists the channels of containers that start because of a pod that
// was made.
var startedBy = []event.Channel{
	event.ChannelKubePod, event.ChannelKubeInit, event.ChannelKubeSidecar, event.ChannelKubeWorkload, event.ChannelKubeCron,
	event.ChannelKubeDebugNode,
}

// APIRequests returns the requests to the API server that can stand behind a
// session of a kind and channel; none when no such request does.
func APIRequests(k session.Kind, c event.Channel) []APIRequest {
	switch {
	case k != session.KindStart:
	case c == event.ChannelKubeletStatic: // a file on the node
		return nil
	case slices.Contains(startedBy, c):
		return podRequest(byPost, "")
	}
	return apiRequests[c]
}

// AllAPIRequests returns every request of which sessions are made.
func AllAPIRequests() []APIRequest {
	var out []APIRequest
	for _, c := range slices.Sorted(maps.Keys(apiRequests)) {
		out = append(out, apiRequests[c]...)
	}
	return out
}

// AlwaysAPIRequest reports whether every session of a channel is one of the
// requests that APIRequests has for it: of none is it unknown whether there was
// one, and of which kind.
func AlwaysAPIRequest(c event.Channel) bool {
	switch c {
	case event.ChannelKubeExecSPDY, event.ChannelKubeExecWS, event.ChannelKubeCopy, event.ChannelKubeAttach, event.ChannelKubeAttachWS,
		event.ChannelKubeForward, event.ChannelKubePodProxy, event.ChannelKubeServiceProxy, event.ChannelKubeNodeExec,
		event.ChannelKubeNodeRun, event.ChannelKubePatchImage:
		return true
	}
	return false
}

// MayBeAPIRequest reports whether a session of a channel can be one.
func MayBeAPIRequest(c event.Channel) bool {
	return c == event.ChannelUnknown || c == event.ChannelKubeletCred || len(apiRequests[c]) > 0 || slices.Contains(startedBy, c)
}
