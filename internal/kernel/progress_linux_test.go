//go:build linux && (amd64 || arm64)

package kernel

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

// TestProgress: the sensor says how far it has told everything, in quiet and in
// a storm, and whatever it tells afterwards is of later.
func TestProgress(t *testing.T) {
	w := watch(t, Options{})
	var last time.Time
	for range 3 { // a container's first process waits between its birth and its start
		b, m := newBox(t), mark()
		b.ExecT(t, 0, b.id, "/bin/busybox", "sh", "-c",
			"i=0; while [ $i -lt 100 ]; do /bin/busybox true; i=$((i+1)); done; exec /bin/busybox true "+m)
		x := find(t, w, "the last program", func(o event.ProcessExec) bool { return ranWith(m)(o) && o.Argv.Args[1] == "true" })
		last = find(t, w, "its exit", exitOf(x.ID)).Time
	}
	find(t, w, "progress beyond the last record", func(o event.Progress) bool { return o.Through.After(last) })
	find(t, w, "progress while nothing happens", func(o event.Progress) bool { return o.Through.After(last.Add(time.Second)) })

	all, _ := w.all()
	var through time.Time
	told, during := map[event.ProcessID]bool{}, 0
	for _, o := range all {
		switch o := o.(type) {
		case event.Progress:
			if !o.Through.After(through) || o.Through.After(time.Now()) || o.Time.Before(o.Through) {
				t.Fatalf("progress %+v after %s", o, through)
			}
			if through = o.Through; through.Before(last) {
				during++
			}
			continue
		case event.SessionEntry:
			if o.Cause == event.EntryFound || told[o.Root] { // was there before, or is corrected
				continue
			}
			told[o.Root] = true
		case event.ClientConnect:
			if o.Found {
				continue
			}
		}
		if at := o.Head().Time; at.Before(through) {
			t.Errorf("%s after everything up to %s was told: %+v", o.Head().Time.Sub(through), through, o)
		}
	}
	if during < 3 {
		t.Errorf("%d times while something happened", during)
	}
}
