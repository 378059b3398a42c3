package correlate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// asksMax bounds the requests to runtimes that are remembered.
const asksMax = 1 << 14

// asks are the requests of clients to containerd and CRI: total of them, each in
// byContainer under the container that it names or, where that may be the
// beginning of an id, in short.
type asks struct {
	byContainer map[event.ContainerID][]*event.RuntimeRequest
	short       []*event.RuntimeRequest
	total       int
}

func newAsks() asks { return asks{byContainer: map[event.ContainerID][]*event.RuntimeRequest{}} }

func (as *asks) full() bool { return as.total >= asksMax }

func (as *asks) add(o *event.RuntimeRequest) {
	as.total++
	if o.API == event.APICRI && !randomID(string(o.Container)) {
		as.short = append(as.short, o)
		return
	}
	as.byContainer[o.Container] = append(as.byContainer[o.Container], o)
}

// drop takes those away that match.
func (as *asks) drop(match func(*event.RuntimeRequest) bool) {
	drop := func(list []*event.RuntimeRequest) []*event.RuntimeRequest {
		kept := slices.DeleteFunc(list, match)
		as.total -= len(list) - len(kept)
		return kept
	}
	for id, list := range as.byContainer {
		if list = drop(list); len(list) == 0 {
			delete(as.byContainer, id)
		} else {
			as.byContainer[id] = list
		}
	}
	as.short = drop(as.short)
}

// asksFor returns the requests that name a container, by time.
func (as *asks) asksFor(id event.ContainerID) []*event.RuntimeRequest {
	out := slices.Clone(as.byContainer[id])
	for _, o := range as.short {
		if names(o, id) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *event.RuntimeRequest) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID.Conn, b.ID.Conn), cmp.Compare(a.ID.N, b.ID.N))
	})
	return out
}

// names reports whether a request names that container.
func names(o *event.RuntimeRequest, id event.ContainerID) bool {
	return id != "" && (o.Container == id ||
		o.API == event.APICRI && o.Container != "" && strings.HasPrefix(string(id), string(o.Container)))
}

// asksIn returns the certain requests by containerd's own API that name a
// process of a container of ours: an id alone may be another namespace's.
func (d *doors) asksIn(id event.ContainerID, x event.ExecID) []*event.RuntimeRequest {
	space := d.inside.seen(id).space()
	return slices.DeleteFunc(d.asksFor(id), func(o *event.RuntimeRequest) bool {
		return o.API != event.APIContainerd || !o.Certain || o.ExecID != x ||
			space != "" && o.Namespace != "" && o.Namespace != space
	})
}

// runtimeClaims returns the requests that started x and those that added it.
func (d *doors) runtimeClaims(x *exec) (starts, adds []*event.RuntimeRequest) {
	since, added, started := d.inside.execs.since(x), timeOf(x.added), timeOf(x.started)
	for _, o := range d.asksIn(x.container, x.key.id) {
		switch {
		case o.Op == event.RuntimeOpStart && between(o.Time, cmp.Or(added, since), started):
			starts = append(starts, o)
		case o.Op == event.RuntimeOpExec && between(o.Time, since, added):
			adds = append(adds, o)
		}
	}
	return starts, adds
}

// runAsks returns the requests that started r. The kubelet's are not among
// them: it asks for others.
func (d *doors) runAsks(r *run, begins time.Time) []*event.RuntimeRequest {
	created, started := timeOf(r.created), timeOf(r.started)
	if created.IsZero() {
		created = begins
	}
	if started.IsZero() {
		started = created.Add(streamLag)
	}
	var out []*event.RuntimeRequest
	for _, o := range d.asksIn(r.key.container, "") {
		if o.Op == event.RuntimeOpStart && between(o.Time, created, started) {
			out = append(out, o)
		}
	}
	for _, o := range d.asksFor(r.key.container) {
		if o.API == event.APICRI && o.Op == event.RuntimeOpStart && o.Certain && !d.coverage.isKubelet(o.Peer) &&
			between(o.Time, begins.Add(-syncLag), started) {
			out = append(out, o)
		}
	}
	return out
}
