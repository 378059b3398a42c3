package kernel

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// procCache remembers what processes of the host run: what the kernel reported
// of runtimes for good, what /proc said for a moment. The name is part of the
// key, because a process may exec another program.
type procCache struct{ m map[procKey]cachedProc }

type procKey struct {
	id   event.ProcessID
	comm string
}

type cachedProc struct {
	procInfo
	until uint64 // ns since boot; 0 is for ever
}

const (
	procCacheMax = 4096
	procCacheTTL = uint64(time.Second)
)

// saw notes a program that the kernel reported. Its process may change its
// name ("runc:[2:INIT]"), so the name is left open.
func (c *procCache) saw(o event.ProcessExec) {
	c.put(procKey{id: o.ID}, cachedProc{procInfo: procInfo{exe: o.Exe, argv: o.Argv}})
}

func (c *procCache) put(k procKey, v cachedProc) {
	if len(c.m) >= procCacheMax {
		clear(c.m)
	}
	c.m[k] = v
}

func (c *procCache) get(id event.ProcessID, comm string, now uint64) (procInfo, bool) {
	if v, ok := c.m[procKey{id: id}]; ok {
		return v.procInfo, true
	}
	key := procKey{id, comm}
	if v, ok := c.m[key]; ok && now < v.until {
		return v.procInfo, true
	}
	info, err := readProc(id)
	if err != nil {
		return procInfo{}, false
	}
	c.put(key, cachedProc{info, now + procCacheTTL})
	return info, true
}
