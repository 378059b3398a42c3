package correlate

import (
	"slices"
	"time"
)

// partOfCopy returns the command that a is a preparation of: kubectl cp asks
// "test -d DIR" before it lets tar write. nil when a stands for itself.
func (ch *choices) partOfCopy(a arrival) *arrival {
	argv, _ := a.argv()
	if len(argv) != 3 || argv[0] != "test" || argv[1] != "-d" {
		return nil
	}
	mine := ch.of(a)
	if len(mine.calls) != 1 || mine.alone {
		return nil
	}
	for _, o := range ch.arrivals.in(a.container()) {
		args, _ := o.argv()
		wait := o.began().Sub(a.began())
		if dir, path, ok := copied(args); !ok || dir != "in" || path != argv[2] || wait < 0 || wait > copyWait {
			continue
		}
		if his := ch.of(o); len(his.calls) == 1 && !his.alone && sameClient(mine.calls[0], his.calls[0]) {
			return &o
		}
	}
	return nil
}

// copyWait is how long kubectl cp may take from its question to its copy.
const copyWait = 30 * time.Second

// sameClient reports whether two requests come from one client, as far as the
// API server can tell.
func sameClient(a, b *call) bool {
	f, g := a.fact(), b.fact()
	if f == nil || g == nil {
		return f == g && a.adm.User.Name == b.adm.User.Name
	}
	return f.User.Name == g.User.Name && f.Address == g.Address && f.UserAgent == g.UserAgent
}

// copied reads kubectl cp from the commands that it runs: tar out of the
// container, or into it.
func copied(argv []string) (direction, path string, ok bool) {
	switch {
	case len(argv) < 4 || argv[0] != "tar":
	case argv[1] == "cf" && argv[2] == "-":
		return "out", argv[len(argv)-1], true
	case slices.Contains(argv, "-xmf") || slices.Contains(argv, "-xf"):
		if i := slices.Index(argv, "-C"); i > 0 && i+1 < len(argv) {
			return "in", argv[i+1], true
		}
	}
	return "", "", false
}
