package correlate

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// containers are those that anything was heard of. Each is in byID under its id, in
// byShort under the first 12 characters of it, and in byPod under the names of the
// pods that it is, or was, a part of.
type containers struct {
	byID    map[event.ContainerID]*container
	byShort map[string][]event.ContainerID
	byPod   map[podName][]event.ContainerID
	pods    *pods // which tell of containers that nothing else was heard of
}

func newContainers(pods *pods) containers {
	return containers{
		byID: map[event.ContainerID]*container{}, byShort: map[string][]event.ContainerID{},
		byPod: map[podName][]event.ContainerID{}, pods: pods,
	}
}

// seen returns a container that something was heard of, or nil.
func (cs *containers) seen(id event.ContainerID) *container { return cs.byID[id] }

// add makes a container known.
func (cs *containers) add(id event.ContainerID) *container {
	c := &container{id: id}
	cs.byID[id] = c
	cs.byShort[id.Short()] = append(cs.byShort[id.Short()], id)
	cs.placeAsTold(c)
	return c
}

func (cs *containers) drop(c *container) {
	delete(cs.byID, c.id)
	unlist(cs.byShort, c.id.Short(), c.id)
	if c.pod != nil {
		unlist(cs.byPod, c.pod.pod, c.id)
	}
}

// known returns a container that something happened in, else what the API server
// says of it, else nil. It is not to be changed.
func (cs *containers) known(id event.ContainerID) *container {
	if c := cs.byID[id]; c != nil {
		return c
	}
	if p, ok := cs.pods.containers[id]; ok {
		return &container{id: id, pod: &p}
	}
	return nil
}

// wholeID returns the whole id of a container of which a log gives the beginning,
// if exactly one known container has it, and else id.
func (cs *containers) wholeID(id event.ContainerID) event.ContainerID {
	if !isShort(id) {
		return id
	}
	found := id
	for _, whole := range cs.byShort[id.Short()] {
		switch {
		case len(whole) != 64 || !strings.HasPrefix(string(whole), string(id)):
		case found != id:
			return id // two fit
		default:
			found = whole
		}
	}
	return found
}

// abbreviations lists the beginnings of c's id by which logs told of it.
func (cs *containers) abbreviations(c *container) []*container {
	if len(c.id) != 64 {
		return nil
	}
	var out []*container
	for _, id := range cs.byShort[c.id.Short()] {
		if id != c.id && isShort(id) && cs.wholeID(id) == c.id {
			out = append(out, cs.byID[id])
		}
	}
	return out
}

// isShort reports whether id is the beginning of a container's id (Falco gives
// 12 digits, Tetragon 31) and neither a whole one nor a name.
func isShort(id event.ContainerID) bool {
	return len(id) >= 12 && len(id) < 64 && strings.Trim(string(id), "0123456789abcdef") == ""
}

func (cs *containers) runsIn(id event.ContainerID) []*run {
	if c := cs.byID[id]; c != nil {
		return c.runs
	}
	return nil
}

// placeAsTold notes the place that the API server gives a container.
func (cs *containers) placeAsTold(c *container) {
	if p, ok := cs.pods.containers[c.id]; ok {
		cs.placeInPod(c, p, p.time)
	}
}

// placeInPod notes a container's place in a pod.
func (cs *containers) placeInPod(c *container, p podPlace, at time.Time) {
	c.place(p, at)
	if list := cs.byPod[p.pod]; !slices.Contains(list, c.id) {
		cs.byPod[p.pod] = append(list, c.id)
	}
}

// ofPod lists the containers of a pod that are remembered.
func (cs *containers) ofPod(pod podName) []*container {
	var out []*container
	for _, id := range cs.byPod[pod] {
		if k := cs.byID[id]; k != nil && k.pod != nil && k.pod.pod == pod {
			out = append(out, k)
		}
	}
	return out
}

// inPod reports whether id is a container of a pod, or may well be: containerd
// keeps those in a namespace of their own, and CRI-O runs no others.
func (cs *containers) inPod(id event.ContainerID) bool {
	c := cs.known(id)
	return c != nil && (c.pod != nil || c.namespace == "k8s.io" || c.crio)
}

// refersTo reports whether a request names the container: by full id, by the
// id its create was answered with, by name or by a prefix of the id.
func (cs *containers) refersTo(r *request, id event.ContainerID) bool {
	if r.Op == event.OpContainerCreate {
		return r.answer != nil && r.answer.Created == string(id)
	}
	if r.Ref == "" {
		return false
	}
	if r.Ref == string(id) {
		return true
	}
	if c := cs.byID[id]; c != nil && c.called(r.Ref, r.Time) {
		return true
	}
	return len(r.Ref) >= 4 && len(r.Ref) < len(id) && string(id[:len(r.Ref)]) == r.Ref && !cs.isName(r.Ref)
}

func (cs *containers) isName(ref string) bool {
	for _, c := range cs.byID {
		if c.name() == ref {
			return true
		}
	}
	return false
}

// resolve finds the container that a request names; absent when none or more
// than one fits.
func (cs *containers) resolve(r *request) event.ContainerID {
	var found event.ContainerID
	for id := range cs.byID {
		if cs.refersTo(r, id) {
			if found != "" {
				return ""
			}
			found = id
		}
	}
	if found == "" && randomID(r.Ref) {
		return event.ContainerID(r.Ref)
	}
	return found
}
