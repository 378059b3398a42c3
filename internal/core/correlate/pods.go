package correlate

import (
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// pods is what the API server says of the cluster's pods: the lives of each name,
// and in which life each container is. The engines of a Fleet have one in common;
// of a pod they hold nothing themselves but what happened in its containers.
type pods struct {
	lives      map[podName][]*podLife         // by time
	containers map[event.ContainerID]podPlace // by the API server's word
	gone       []*podLife                     // deleted, in the order in which that was told
	newest     time.Time
}

// podLife is one pod. What is known of it outlives it for a while.
type podLife struct {
	pod        event.KubePod // the latest word that describes it, else of its end
	deleted    time.Time     // zero while it is there
	containers []event.ContainerID
	forgotten  bool
}

const (
	podsMax     = 1 << 17 // lives remembered; Kubernetes supports 150,000 pods
	podLives    = 4       // of one name
	podIDsMax   = 32      // containers of one life: those that restart have many
	podGoneKeep = time.Hour
)

func newPods() *pods {
	return &pods{lives: map[podName][]*podLife{}, containers: map[event.ContainerID]podPlace{}}
}

// apply notes a word of the API server. The order in which words about one pod
// come does not matter.
func (p *pods) apply(o event.KubePod) {
	if o.Time.After(p.newest) {
		p.newest = o.Time
	}
	p.sweep()
	if !p.knowsMore(&o) {
		return
	}
	l := p.life(&o)
	switch {
	case l == nil: // no room
	case o.Deleted:
		if l.deleted.IsZero() {
			p.gone = append(p.gone, l)
		}
		l.deleted = o.Time
	default:
		if l.pod.Deleted || !o.Time.Before(l.pod.Time) {
			l.pod = o
		}
		p.place(l, &o)
	}
}

// knowsMore reports whether o is worth noting: a log knows no more of a pod than
// where it runs, and what it says goes when the API server speaks.
func (p *pods) knowsMore(o *event.KubePod) bool {
	name := podName{o.Namespace, o.Name}
	if o.Witness.Log() {
		return len(p.lives[name]) == 0
	}
	for _, l := range slices.Clone(p.lives[name]) {
		if l.pod.Witness.Log() {
			p.forget(l)
			unlist(p.lives, name, l)
		}
	}
	return true
}

// life returns the life that o is about, a new one when there is none.
func (p *pods) life(o *event.KubePod) *podLife {
	name := podName{o.Namespace, o.Name}
	lives := p.lives[name]
	if i := slices.IndexFunc(lives, func(l *podLife) bool { return l.pod.UID == o.UID }); i >= 0 {
		return lives[i]
	}
	if len(p.lives) >= podsMax && len(lives) == 0 {
		return nil
	}
	l := &podLife{pod: *o}
	i, _ := slices.BinarySearchFunc(lives, o.Time, func(l *podLife, t time.Time) int { return l.pod.Time.Compare(t) })
	if lives = slices.Insert(lives, i, l); len(lives) > podLives {
		p.forget(lives[0])
		lives = lives[1:]
	}
	p.lives[name] = lives
	return l
}

// place notes the places of the containers of a life, by one word about it.
func (p *pods) place(l *podLife, o *event.KubePod) {
	for k := range o.Containers {
		id := o.Containers[k].ID
		was, known := p.containers[id]
		if id == "" || known && o.Time.Before(was.time) {
			continue
		}
		if !known {
			l.containers = append(l.containers, id)
		}
		p.containers[id] = podPlace{
			pod: podName{o.Namespace, o.Name}, uid: o.UID, container: o.Containers[k].Name, spec: &o.Containers[k],
			node: o.NodeName, owner: o.Owner, static: o.Static, time: o.Time,
		}
	}
	for len(l.containers) > podIDsMax {
		delete(p.containers, l.containers[0])
		l.containers = l.containers[1:]
	}
}

// sweep forgets lives that ended long ago.
func (p *pods) sweep() {
	for len(p.gone) > 0 && (p.gone[0].forgotten || p.newest.Sub(p.gone[0].deleted) > podGoneKeep) {
		l := p.gone[0]
		p.gone[0], p.gone = nil, p.gone[1:]
		if l.forgotten {
			continue
		}
		p.forget(l)
		unlist(p.lives, podName{l.pod.Namespace, l.pod.Name}, l)
	}
}

// forget drops what leads to a life, but for its name.
func (p *pods) forget(l *podLife) {
	l.forgotten = true
	for _, id := range l.containers {
		delete(p.containers, id)
	}
}

// at returns the life of a pod's name around t, or nil.
func (p *pods) at(name podName, uid string, t time.Time) *event.KubePod {
	var best *event.KubePod
	for _, l := range p.lives[name] {
		o := &l.pod
		if uid != "" && o.UID == uid {
			return o
		}
		if uid == "" && (best == nil || o.Started.IsZero() || !o.Started.After(t)) {
			best = o
		}
	}
	return best
}

// podName names a pod at a time: names are used again.
type podName struct{ namespace, name string }

// podPlace is a container's place in a pod, as the API server or the node's
// runtime tells it. The runtime knows no specification.
type podPlace struct {
	pod       podName
	uid       string
	container string
	sandbox   bool
	spec      *event.KubeContainer
	node      string
	owner     string
	static    bool
	time      time.Time
}
