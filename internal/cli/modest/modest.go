// Package modest keeps small what the program takes of its host.
package modest

import (
	"os"
	"runtime"
	"runtime/debug"
)

// UseOneCPU keeps to one CPU at a time, unless the environment says otherwise: where
// work comes in small pieces, the Go scheduler spends a fifth of it and more on
// sharing it out among several.
func UseOneCPU() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
}

// Be takes as little as a guest on its host should. One CPU is enough for
// 20,000 execs a second. The collector is frugal: with 16 MB in use, after many
// sessions, this is what 50 percent without a floor would be.
//
// The floor is to be kept alive. It is never touched, so it costs no memory, but
// the collector takes it for live: a small heap is collected every 6 MB instead
// of every 2.
func Be() (floor []byte) {
	UseOneCPU()
	debug.SetGCPercent(20)
	return make([]byte, 24<<20)
}
