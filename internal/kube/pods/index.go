package pods

import (
	"encoding/json"
	"hash/maphash"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sallyport/sallyport/internal/core/event"
)

// entry is what is kept of a pod: enough to tell whether it changed, and to say
// that it is gone.
type entry struct {
	digest     uint64
	round      uint32 // of the list that saw it last
	namespace  string
	name, node string
}

func (e *entry) deleted(uid string, now time.Time) event.KubePod {
	return event.KubePod{
		Header: header(now), Namespace: e.namespace, Name: e.name, UID: uid, NodeName: e.node, Deleted: true,
	}
}

// index knows all pods by what was last reported of them. It is used by one
// goroutine.
type index struct {
	seed  maphash.Seed
	round uint32
	pods  map[string]entry
}

func newIndex() *index { return &index{seed: maphash.MakeSeed(), pods: map[string]entry{}} }

func (x *index) len() int { return len(x.pods) }

// put notes o and reports whether it differs from what was known.
func (x *index) put(o *event.KubePod) bool {
	e := entry{digest: x.digest(o), round: x.round, namespace: o.Namespace, name: o.Name, node: o.NodeName}
	old, known := x.pods[o.UID]
	x.pods[o.UID] = e
	return !known || old.digest != e.digest
}

// digest covers all of o but when and by whom it was seen.
func (x *index) digest(o *event.KubePod) uint64 {
	plain := *o
	plain.Header = event.Header{}
	b, _ := json.Marshal(plain) // cannot fail: it has no channels, functions or floats
	return maphash.Bytes(x.seed, b)
}

// remove forgets a pod and returns what was known of it.
func (x *index) remove(p *corev1.Pod) (entry, bool) {
	e, ok := x.pods[string(p.UID)]
	delete(x.pods, string(p.UID))
	return e, ok
}

// begin starts a look at all pods, end ends it: it forgets those that were not
// seen, and says so at the given time.
func (x *index) begin() { x.round++ }

func (x *index) end(now time.Time) []event.KubePod {
	var gone []event.KubePod
	for uid, e := range x.pods {
		if e.round != x.round {
			gone = append(gone, e.deleted(uid, now))
			delete(x.pods, uid)
		}
	}
	return gone
}
