package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// container is what the service doors say of one container.
type container struct {
	id     event.ContainerID
	info   *event.DockerContainer // the latest
	infos  []event.DockerContainer
	events []event.DockerEvent // of the container itself, not of its execs
	// namespace is containerd's, "moby" under Docker; absent when unknown.
	namespace string
	cri       *event.RuntimeContainer // as containerd has it
	pod       *podPlace               // nil outside pods
	crio      bool                    // CRI-O runs it
	runs      []*run
	execs     []*exec
	entries   []*entry
	// forged are exec events whose exec id the container's labels overwrote:
	// Docker knew of an exec, but not of which.
	forged []event.DockerEvent
}

// forgedStart reports whether Docker told, within d of t, that it started an
// exec in c whose id cannot be read.
func (c *container) forgedStart(t time.Time, d time.Duration) bool {
	return c != nil && slices.ContainsFunc(c.forged, func(ev event.DockerEvent) bool {
		return ev.Action == event.DockerExecStart && ev.Time.Sub(t).Abs() < d
	})
}

// space returns c's namespace, absent of a container that is not known any more.
func (c *container) space() string {
	if c == nil {
		return ""
	}
	return c.namespace
}

// eventsMax bounds the events remembered of one container.
const eventsMax = 256

// name returns the container's present name.
func (c *container) name() string {
	if c.info != nil && c.info.Name != "" {
		return c.info.Name
	}
	for i := len(c.events) - 1; i >= 0; i-- {
		if ev := c.events[i]; ev.Name != "" && !slices.Contains(ev.Forged, "name") {
			return ev.Name
		}
	}
	return ""
}

// called reports whether the container had this name around t. Names move from
// one container to another, so the latest statement before t counts, and none
// before the container was made or after it was removed.
func (c *container) called(name string, t time.Time) bool {
	if made, removed := c.lifetime(); !between(t, made, removed) {
		return false
	}
	for i := len(c.infos) - 1; i >= 0; i-- {
		if in := c.infos[i]; !in.Time.After(t.Add(skew)) || i == 0 {
			return in.Name == name
		}
	}
	return c.name() == name
}

// restarts reports whether Docker starts c again by itself.
func (c *container) restarts() bool { return c.info != nil && c.info.AutoRestart }

// isHealthcheck reports whether argv is what the daemon runs in c by itself.
func (c *container) isHealthcheck(argv []string, joined string) bool {
	if c == nil || c.info == nil || c.info.Health == nil {
		return false
	}
	h := c.info.Health.Argv
	if argv != nil {
		return slices.Equal(argv, h)
	}
	// Docker leaves a trailing blank behind a command without arguments.
	return joined != "" && strings.TrimSuffix(joined, " ") == strings.TrimSuffix(event.Argv{Args: h}.String(), " ")
}

// target describes the container for a session.
func (e *Engine) target(id event.ContainerID) session.Target {
	t := session.Target{ContainerID: id, Node: e.site.name()}
	c := e.inside.known(id)
	if c == nil {
		return t
	}
	t.ContainerName, t.HostAccess = c.name(), c.hostAccess()
	c.podTarget(&t)
	if in := c.info; in != nil {
		t.Image, t.ImageID, t.Runtime, t.Labels = in.Image, in.ImageID, in.Runtime, in.Labels
		return t
	}
	for _, ev := range c.events {
		if ev.Image != "" && !slices.Contains(ev.Forged, "image") {
			t.Image = ev.Image
		}
	}
	if c.cri != nil && c.pod == nil {
		t.ContainerName, t.Image = cmp.Or(t.ContainerName, c.cri.Name), cmp.Or(t.Image, c.cri.Image)
	}
	return t
}

// hostAccess returns what of the host c is given, as its runtime has it, else as
// its pod's specification has it. Under Docker, containerd knows only what it
// comes to.
func (c *container) hostAccess() *event.HostAccess {
	var docker, runtime, spec *event.HostAccess
	if c.info != nil {
		docker = c.info.HostAccess
	}
	if c.cri != nil {
		runtime = c.cri.HostAccess
	}
	if c.pod != nil && c.pod.spec != nil {
		spec = c.pod.spec.HostAccess
	}
	return cmp.Or(docker, runtime, spec)
}

// place notes c's place in a pod. What only the API server knows stays when the
// runtime repeats the rest.
func (c *container) place(p podPlace, at time.Time) {
	p.time = at
	was := c.pod
	if was == nil {
		c.pod = &p
		return
	}
	p.sandbox = p.sandbox || was.sandbox
	if p.pod == was.pod {
		p.uid, p.container = cmp.Or(p.uid, was.uid), cmp.Or(p.container, was.container)
	}
	newer := !at.Before(was.time)
	if p.spec == nil || was.spec != nil && !newer {
		p.spec, p.node, p.owner, p.static = was.spec, was.node, was.owner, was.static
	}
	if !newer {
		p.time = was.time
	}
	c.pod = &p
}

func (c *container) destroyed() bool {
	_, removed := c.lifetime()
	return !removed.IsZero()
}

// lifetime returns when Docker made c and when it removed c, zero where nobody
// told.
func (c *container) lifetime() (made, removed time.Time) {
	if c.info != nil {
		made = c.info.Created
	}
	for _, ev := range c.events {
		switch {
		case ev.Action == event.DockerCreate && made.IsZero():
			made = ev.Time
		case ev.Action == event.DockerDestroy:
			removed = ev.Time
		}
	}
	return made, removed
}
