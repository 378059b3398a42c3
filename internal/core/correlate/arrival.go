package correlate

import (
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// arrival is a command that came into a pod's container: an exec that the
// runtime told of, or else a process tree that a shim started and no runtime
// told of (CRI-O, or containerd unheard).
type arrival struct {
	x *exec
	n *entry
}

func (a arrival) subject() subject {
	if a.x != nil {
		return a.x
	}
	return a.n
}

func (a arrival) container() event.ContainerID {
	if a.x != nil {
		return a.x.container
	}
	return a.n.where
}

// began is the earliest that anybody saw of it. A busy runtime tells of an exec
// long after its process has come in.
func (a arrival) began() time.Time {
	if a.x == nil {
		return a.n.born()
	}
	t := a.x.asked()
	if a.entered() && a.n.born().Before(t) {
		return a.n.born()
	}
	return t
}

// entered reports whether its process was seen to come in.
func (a arrival) entered() bool {
	return a.n != nil && a.n.fact != nil && a.n.fact.Cause != event.EntryFound
}

// arrived is when it was there for certain: whoever asked, asked before that.
// That is when the runtime had made its exec, or else when its process came in.
func (a arrival) arrived() time.Time {
	t := a.began()
	if a.x != nil && a.x.added != nil && a.x.added.Time.Equal(t) {
		return t
	}
	if a.x != nil && a.entered() && a.n.born().After(t) {
		return a.n.born()
	}
	return t
}

// argv is what the process executed first; false when nobody saw that.
func (a arrival) argv() ([]string, bool) {
	if a.n == nil {
		return nil, false
	}
	p := a.n.procs[a.n.root]
	if p == nil {
		return nil, false
	}
	for _, x := range p.execs {
		if !slices.Equal(x.Argv.Args, runcInit) && !x.Argv.Joined {
			return x.Argv.Args, !x.Argv.Truncated
		}
	}
	return nil, false
}

// joined is what the process executed first, where only a joined form is known,
// and all of that.
func (a arrival) joined() (string, bool) {
	if a.n == nil {
		return "", false
	}
	p := a.n.procs[a.n.root]
	if p == nil || len(p.execs) == 0 {
		return "", false
	}
	v := p.execs[0].Argv
	return v.String(), v.Joined && !v.Truncated
}

// tty reports whether the process had a terminal; known is false when nobody
// saw.
func (a arrival) tty() (has, known bool) {
	if a.n == nil || !a.n.ran() || a.n.reported() {
		return false, false // a log need not have it
	}
	return a.n.procs[a.n.root].execs[0].TTY != "", true
}

// ran reports whether what a executed can be the command of a request.
func (a arrival) ran(k ask) bool {
	argv, whole := a.argv()
	joined, ok := a.joined()
	switch {
	case k.unsaid && k.argv == nil, argv == nil && !ok:
		return true
	case k.joined && ok:
		return squeeze(k.argv[0]) == squeeze(joined) || joinedFits(strings.Fields(k.argv[0]), joined)
	case k.joined:
		return !whole || joinedFits(argv, k.argv[0])
	case ok:
		return joinedFits(k.argv, joined)
	}
	return asAsked(k.argv, argv, whole)
}

// asAsked reports whether a process that executed ran can come from a request
// for asked. Webhooks of other tools put "env NAME=value" before the command
// (channels.md §4.1).
func asAsked(asked, ran []string, whole bool) bool {
	if ran == nil {
		return true
	}
	if len(ran) > len(asked) && ran[0] == "env" {
		rest := ran[1:]
		for len(rest) > len(asked) && strings.Contains(rest[0], "=") {
			rest = rest[1:]
		}
		if slices.Equal(rest, asked) {
			return true
		}
	}
	if whole {
		return slices.Equal(asked, ran) || isScript(asked, ran)
	}
	return len(ran) <= len(asked) && (len(ran) == 0 || slices.Equal(asked[:len(ran)-1], ran[:len(ran)-1]))
}

// isScript reports whether ran is what the kernel makes of a script that was
// asked for: an interpreter, at most one argument of its, the script's path, and
// the rest (execve(2)).
func isScript(asked, ran []string) bool {
	before := len(ran) - len(asked)
	if len(asked) == 0 || before < 1 || before > 2 || !slices.Equal(asked[1:], ran[before+1:]) {
		return false
	}
	path := ran[before]
	return path == asked[0] || !strings.Contains(asked[0], "/") && strings.Contains(path, "/") && base(path) == asked[0]
}
