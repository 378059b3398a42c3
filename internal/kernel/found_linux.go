package kernel

import (
	"cmp"
	"slices"

	"github.com/sallyport/sallyport/internal/core/event"
)

// found reports what the dump at start found, oldest first. A container is
// known by the cgroup of its first process: others may have come from outside
// and kept their own.
func (p *processes) found(all []*foundRecord) {
	slices.SortFunc(all, func(a, b *foundRecord) int {
		return cmp.Or(cmp.Compare(min(a.Id.NsPid, 2), min(b.Id.NsPid, 2)), cmp.Compare(a.Id.Start, b.Id.Start))
	})
	for _, r := range all {
		p.learnFound(r)
	}
	slices.SortFunc(all, func(a, b *foundRecord) int { return a.Id.event().Compare(b.Id.event()) })
	for _, r := range stillThere(all) {
		put(p.alive, r.Id.event(), r.Entry.event(), aliveMax)
		p.reportFound(r)
	}
}

// stillThere leaves out processes that ended meanwhile: their end may have gone
// unseen. A root stays as long as anybody has come of it.
func stillThere(all []*foundRecord) []*foundRecord {
	children := map[event.ProcessID]bool{}
	for _, r := range all {
		if id := r.Id.event(); id != r.Entry.event() && sameProcess(procDir(id), id) == nil {
			children[r.Entry.event()], children[id] = true, true
		}
	}
	return slices.DeleteFunc(all, func(r *foundRecord) bool {
		id := r.Id.event()
		return !children[id] && sameProcess(procDir(id), id) != nil
	})
}

func (p *processes) learnFound(r *foundRecord) {
	at := r.Place.place()
	if _, known := p.places.mnt[at.mnt]; known || r.Id.event() != r.Entry.event() {
		return
	}
	id, ok := containerOf(r.cgroup)
	if !ok && r.Id.NsPid == 1 {
		id = named(r.cgroup)
	}
	if id == "" {
		return
	}
	p.places.learn(at, container{id: id, cgroup: first(r.cgroup)}, r.Id.NsPid == 1)
	if r.Id.NsPid == 1 {
		put(p.inits, r.Id.event(), at, placesMax)
	}
}

func (p *processes) reportFound(r *foundRecord) {
	id, entry := r.Id.event(), r.Entry.event()
	head := p.header(r.Id.Start)
	where := p.where(entry, r.Place.place(), r.cgroup)
	if id == entry {
		c, _ := p.places.at(r.Place.place())
		p.emit(event.SessionEntry{
			Header: head, Root: id, Cause: event.EntryFound, Container: where, Cgroup: first(r.cgroup),
			InCgroup: c.id != "" && c.holds(r.cgroup), MntNS: r.Place.MntNs, PIDNS: r.Place.PidNs, Cred: r.Who.event(),
		})
	}
	p.emit(event.ProcessFork{
		Header: head, ID: id, Parent: r.Parent.event(), Entry: entry, NSPID: r.Id.NsPid,
		Comm: event.Text(text(r.Comm[:])), Cred: r.Who.event(),
	})
	info, err := readProc(id)
	if err != nil || len(info.argv.Args) == 0 {
		return // what it runs cannot be known any more
	}
	p.emit(event.ProcessExec{
		Header: p.header(r.Head.Time), ID: id, Parent: r.Parent.event(), Entry: entry, Container: where,
		NSPID: r.Id.NsPid, Argv: info.argv, Exe: info.exe, Cred: r.Who.event(),
		TTY: ttyName(text(r.Tty[:])), Cgroup: first(r.cgroup),
	})
}
