package link

import (
	"cmp"
	"slices"
	"sync"

	"github.com/sallyport/sallyport/internal/core/event"
)

// facts holds what still holds on this node: who is connected, which process
// trees live, what containers there are, how the witnesses are. A collector
// that starts anew knows none of it, and would otherwise have to take the
// connections that it hears of for all there are.
//
// What ends stays until the collector keeps the news of its end: until then it
// gets to see observations from before.
type facts struct {
	mu   sync.Mutex
	held map[factKey][]fact // guarded by mu; by number
	n    int                // guarded by mu
	over uint64             // guarded by mu; facts for which there was no room
}

type fact struct {
	o    event.Observation
	seq  uint64
	gone uint64 // number of what ended it; 0 while it holds
}

// factKey is the kind of a fact and what it is about.
type factKey struct {
	kind, id string
}

// factsMax bounds the facts held.
const factsMax = 1 << 16

func newFacts() *facts { return &facts{held: map[factKey][]fact{}} }

// see takes note of an observation with its number.
func (f *facts) see(o event.Observation, seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch o := o.(type) {
	case event.WitnessState:
		f.hold(factKey{"state", string(o.Witness)}, o, seq)
	case event.Host:
		f.host(o, seq)
	case event.ClientConnect:
		f.hold(factKey{"conn", string(event.Name(o)) + connText(o.Conn)}, o, seq)
	case event.ClientClose:
		f.end(factKey{"conn", "client_connect" + connText(o.Conn)}, seq)
	case event.SessionEntry:
		f.hold(factKey{"entry", o.Root.String()}, o, seq)
	case event.ProcessExec:
		if !o.Entry.IsZero() {
			f.hold(factKey{"exec", o.ID.String()}, o, seq)
		}
	case event.ProcessExit:
		f.end(factKey{"exec", o.ID.String()}, seq)
		f.end(factKey{"entry", o.ID.String()}, seq)
	default:
		f.service(o, seq)
	}
}

// service takes note of what Docker and containerd say.
func (f *facts) service(o event.Observation, seq uint64) {
	switch o := o.(type) {
	case event.DockerContainer:
		f.hold(factKey{"container", string(o.ID)}, o, seq)
	case event.DockerEvent:
		if o.Action == event.DockerDestroy {
			f.end(factKey{"container", string(o.Container)}, seq)
		}
	case event.DockerExec:
		if o.Running {
			f.hold(factKey{"inspect", string(o.ID)}, o, seq)
		} else {
			f.end(factKey{"inspect", string(o.ID)}, seq)
		}
	case event.RuntimeContainer:
		f.hold(factKey{"runtime", string(o.ID)}, o, seq)
	case event.RuntimeTask:
		f.hold(factKey{"task", string(o.Container) + "/" + string(o.ExecID)}, o, seq)
	case event.RuntimeEvent:
		key := factKey{"task", string(o.Container) + "/" + string(o.ExecID)}
		switch o.Action {
		case event.RuntimeStart, event.RuntimeExecStarted:
			f.hold(key, o, seq)
		case event.RuntimeExit:
			f.end(key, seq)
			f.end(factKey{"inspect", string(o.ExecID)}, seq)
		case event.RuntimeDelete:
			f.end(key, seq)
			f.end(factKey{"runtime", string(o.Container)}, seq)
		case event.RuntimeCreate, event.RuntimeExecAdded:
		}
	}
}

func connText(c event.ConnID) string { return string(numbers(int64(c))) }

// hold notes, mu held, that o holds from now on in place of what was said of
// the same before.
func (f *facts) hold(k factKey, o event.Observation, seq uint64) {
	if f.n >= factsMax {
		f.over++
		return
	}
	f.end(k, seq)
	f.held[k] = append(f.held[k], fact{o: o, seq: seq})
	f.n++
}

// host merges what is said of the host: names of users come one by one.
func (f *facts) host(o event.Host, seq uint64) {
	k := factKey{"host", ""}
	if list := f.held[k]; len(list) > 0 {
		was := list[len(list)-1].o.(event.Host)
		if o.BootID == "" {
			o.BootID, o.Hostname, o.Kernel = was.BootID, was.Hostname, was.Kernel
		}
		users := make(map[uint32]string, len(was.Users)+len(o.Users))
		for _, from := range []map[uint32]string{was.Users, o.Users} {
			for uid, name := range from {
				users[uid] = name
			}
		}
		o.Users = users
	}
	f.hold(k, o, seq)
}

// end notes, mu held, that what was said of k does not hold any more.
func (f *facts) end(k factKey, seq uint64) {
	list := f.held[k]
	for i := range list {
		if list[i].gone == 0 {
			list[i].gone = seq
		}
	}
}

// forget drops what had ended by the observation acked.
func (f *facts) forget(acked uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, list := range f.held {
		kept := slices.DeleteFunc(list, func(x fact) bool { return x.gone != 0 && x.gone <= acked })
		f.n -= len(list) - len(kept)
		if len(kept) == 0 {
			delete(f.held, k)
		} else {
			f.held[k] = kept
		}
	}
}

// before returns what was told up to number seq and still counts for what was
// told after it, in the order in which it was told.
func (f *facts) before(seq uint64) []event.Observation {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []fact
	for _, list := range f.held {
		for _, x := range list {
			if x.seq <= seq && (x.gone == 0 || x.gone > seq) {
				found = append(found, x)
			}
		}
	}
	slices.SortFunc(found, func(a, b fact) int { return cmp.Compare(a.seq, b.seq) })
	out := make([]event.Observation, len(found))
	for i, x := range found {
		out[i] = x.o
	}
	return out
}

func (f *facts) size() (held int, over uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, f.over
}
