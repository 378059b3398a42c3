package audit

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// kinds are the kinds of the resources whose objects carry commands; a patch
// does not say its own.
var kinds = map[string]string{
	"pods": "Pod", "deployments": "Deployment", "daemonsets": "DaemonSet", "statefulsets": "StatefulSet",
	"replicasets": "ReplicaSet", "replicationcontrollers": "ReplicationController", "jobs": "Job", "cronjobs": "CronJob",
}

// podObject collects what of an object, or of a patch of one, carries commands.
type podObject struct {
	event.KubeObject
	runs  bool // it touches what is run or what of the host that may see
	depth int  // of templates
	// access is what the pod takes of its node, but for paths: hostPaths has
	// those by their volumes, and mounts the volumes of each container.
	access    event.HostAccess
	hostPaths map[string]string
	mounts    [][]string
}

// depthMax bounds templates in templates; a cron job has two.
const depthMax = 4

// object reads the body of a request that wrote an object: the object itself, a
// strategic merge patch or merge patch, which have its shape, or a JSON patch.
// whole says that it is the object itself. It reports whether the body says
// anything of what is run.
func object(raw []byte, resource string, whole bool) (*event.KubeObject, bool) {
	o := &podObject{hostPaths: map[string]string{}}
	o.access.Partial = !whole
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && raw[0] == '[' {
		o.operations(raw)
	} else {
		o.object(raw)
	}
	o.Kind = kinds[resource]
	o.share()
	return &o.KubeObject, o.runs
}

// share says what of the node the pod takes as a whole, and each container of it:
// namespaces and volumes may stand behind the containers that they are for.
func (o *podObject) share() {
	pod := o.access
	pod.Namespaces = slices.Clone(o.access.Namespaces)
	pod.Paths = slices.Collect(maps.Values(o.hostPaths))
	pod.Tidy()
	o.HostAccess = &pod
	for i := range o.Containers {
		h := o.Containers[i].HostAccess
		h.Namespaces, h.Partial = slices.Clone(o.access.Namespaces), o.access.Partial
		for _, volume := range o.mounts[i] {
			if p, ok := o.hostPaths[volume]; ok {
				h.Paths = append(h.Paths, p)
			}
		}
		h.Tidy()
	}
}

// object reads the shape of a pod, or of what has a pod template. Kubernetes
// before 1.22 took ephemeral containers at the top.
func (o *podObject) object(raw []byte) {
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "metadata":
			o.metadata(m.value)
		case "spec":
			o.spec(m.value)
		case "ephemeralContainers":
			o.containers(m.value, event.KubeEphemeralDebug)
			o.access.Partial = true
		}
	}
}

func (o *podObject) metadata(raw []byte) {
	identify(&o.KubeObject, raw)
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "annotations":
			for a := membersOf(m.value); a.next(); {
				o.Mirror = o.Mirror || string(a.key) == "kubernetes.io/config.mirror"
			}
		case "labels":
			for l := membersOf(m.value); l.next(); {
				o.Debug = o.Debug || string(l.key) == "app.kubernetes.io/managed-by" && text(l.value) == "kubectl-debug"
			}
		}
	}
}

// identify takes the names in raw metadata.
func identify(o *event.KubeObject, raw []byte) {
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "name":
			o.Name = text(m.value)
		case "namespace":
			o.Namespace = text(m.value)
		case "uid":
			o.UID = text(m.value)
		}
	}
}

// spec reads a pod's specification, or goes through the templates to it.
func (o *podObject) spec(raw []byte) {
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "template", "jobTemplate":
			o.template(m.value)
		case "containers":
			o.containers(m.value, event.KubeApp)
		case "initContainers":
			o.containers(m.value, event.KubeInit)
		case "ephemeralContainers":
			o.containers(m.value, event.KubeEphemeralDebug)
		case "nodeName":
			o.NodeName = text(m.value)
		case "hostNetwork":
			o.host("network", truth(m.value))
		case "hostPID":
			o.host("pid", truth(m.value))
		case "hostIPC":
			o.host("ipc", truth(m.value))
		case "volumes":
			o.volumes(m.value)
		}
	}
}

// template reads a template; its metadata names no object.
func (o *podObject) template(raw []byte) {
	if o.depth++; o.depth > depthMax {
		return
	}
	defer func() { o.depth-- }()
	for m := membersOf(raw); m.next(); {
		if string(m.key) == "spec" {
			o.spec(m.value)
		}
	}
}

func (o *podObject) host(what string, takes bool) {
	if takes {
		o.access.Namespaces, o.runs = append(o.access.Namespaces, what), true
	}
}

func (o *podObject) volumes(raw []byte) {
	for e := elementsOf(raw); e.next(); {
		var name, path string
		for m := membersOf(e.value); m.next(); {
			switch string(m.key) {
			case "name":
				name = text(m.value)
			case "hostPath":
				for h := membersOf(m.value); h.next(); {
					if string(h.key) == "path" {
						path = text(h.value)
					}
				}
			}
		}
		if path != "" {
			o.hostPaths[name], o.runs = path, true
		}
	}
}

func (o *podObject) containers(raw []byte, kind event.KubeContainerKind) {
	for e := elementsOf(raw); e.next(); {
		o.Containers, o.runs = append(o.Containers, container(e.value, kind)), true
		o.mounts = append(o.mounts, mounted(e.value))
	}
}

// mounted returns the volumes that a container mounts, or has as devices.
func mounted(raw []byte) []string {
	var out []string
	for m := membersOf(raw); m.next(); {
		if key := string(m.key); key != "volumeMounts" && key != "volumeDevices" {
			continue
		}
		for e := elementsOf(m.value); e.next(); {
			for v := membersOf(e.value); v.next(); {
				if string(v.key) == "name" {
					out = append(out, text(v.value))
				}
			}
		}
	}
	return out
}

// confine reads a container's security context.
func confine(h *event.HostAccess, raw []byte) {
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "privileged":
			h.Privileged = truth(m.value)
		case "capabilities":
			for c := membersOf(m.value); c.next(); {
				if string(c.key) == "add" {
					h.Capabilities = texts(c.value)
				}
			}
		}
	}
}

func container(raw []byte, kind event.KubeContainerKind) event.KubeContainer {
	c := event.KubeContainer{Kind: kind, HostAccess: &event.HostAccess{}}
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "name":
			c.Name = text(m.value)
		case "image":
			c.Image = text(m.value)
		case "command":
			c.Command = texts(m.value)
		case "args":
			c.Args = texts(m.value)
		case "tty":
			c.TTY = truth(m.value)
		case "stdin":
			c.Stdin = truth(m.value)
		case "securityContext":
			confine(c.HostAccess, m.value)
		case "env":
			c.Variables = variables(m.value)
		case "targetContainerName":
			c.Target = text(m.value)
		case "restartPolicy":
			if kind == event.KubeInit && text(m.value) == "Always" {
				c.Kind = event.KubeSidecar
			}
		case "livenessProbe":
			c.Hooks = appendProbe(c.Hooks, event.KubeLiveness, m.value)
		case "readinessProbe":
			c.Hooks = appendProbe(c.Hooks, event.KubeReadiness, m.value)
		case "startupProbe":
			c.Hooks = appendProbe(c.Hooks, event.KubeStartup, m.value)
		case "lifecycle":
			c.Hooks = appendLifecycle(c.Hooks, m.value)
		}
	}
	return c
}

// variables returns those of an environment that concern commands.
func variables(raw []byte) []event.Variable {
	var out []event.Variable
	for e := elementsOf(raw); e.next(); {
		var name, value string
		for m := membersOf(e.value); m.next(); {
			switch string(m.key) {
			case "name":
				name = text(m.value)
			case "value":
				value = text(m.value)
			}
		}
		out = event.AppendVariable(out, name, value)
	}
	return out
}

// appendProbe adds a probe that runs a command. What it does not say of its
// times has the API server's defaults.
func appendProbe(hooks []event.KubeHook, kind event.KubeHookKind, raw []byte) []event.KubeHook {
	seconds := func(raw []byte) event.Duration { return event.Duration(time.Duration(number(raw)) * time.Second) }
	h := event.KubeHook{Kind: kind, Period: event.Duration(10 * time.Second), Timeout: event.Duration(time.Second)}
	for m := membersOf(raw); m.next(); {
		switch string(m.key) {
		case "exec":
			h.Argv = command(m.value)
		case "periodSeconds":
			h.Period = seconds(m.value)
		case "timeoutSeconds":
			h.Timeout = seconds(m.value)
		case "initialDelaySeconds":
			h.InitialDelay = seconds(m.value)
		}
	}
	if h.Argv == nil {
		return hooks
	}
	return append(hooks, h)
}

func appendLifecycle(hooks []event.KubeHook, raw []byte) []event.KubeHook {
	for m := membersOf(raw); m.next(); {
		kind := map[string]event.KubeHookKind{"postStart": event.KubePostStart, "preStop": event.KubePreStop}[string(m.key)]
		for h := membersOf(m.value); kind != "" && h.next(); {
			if string(h.key) == "exec" {
				hooks = append(hooks, event.KubeHook{Kind: kind, Argv: command(h.value)})
			}
		}
	}
	return hooks
}

// command returns the list of an exec action.
func command(raw []byte) []string {
	for m := membersOf(raw); m.next(); {
		if string(m.key) == "command" {
			return texts(m.value)
		}
	}
	return nil
}

// operations reads a JSON patch: each value that is added or put in place is
// read as a merge patch that puts it there. An index names no container, so
// containers may be without a name.
func (o *podObject) operations(raw []byte) {
	for e := elementsOf(raw); e.next(); {
		var op, path string
		var value []byte
		for m := membersOf(e.value); m.next(); {
			switch string(m.key) {
			case "op":
				op = text(m.value)
			case "path":
				path = text(m.value)
			case "value":
				value = m.value
			}
		}
		if (op == "add" || op == "replace") && value != nil && len(path) <= pointerMax {
			o.object(nest(path, value))
		}
	}
}

// pointerMax bounds the path of an operation: no path to a command is as long.
const pointerMax = 1024

// nest returns the JSON document that has value at the place that a JSON pointer
// names, and nothing else.
func nest(pointer string, value []byte) []byte {
	parts := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	if pointer == "" {
		parts = nil
	}
	var open, closing []byte
	for _, part := range parts {
		if _, err := strconv.Atoi(part); part == "-" || err == nil {
			open, closing = append(open, '['), append(closing, ']')
			continue
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		open = append(strconv.AppendQuote(append(open, '{'), part), ':')
		closing = append(closing, '}')
	}
	out := append(open, value...)
	for i := len(closing) - 1; i >= 0; i-- {
		out = append(out, closing[i])
	}
	return out
}
