package api

import (
	"os"
	"path/filepath"
	"strings"
)

// ServedHere reports whether an API server runs on this machine, in whichever
// container or network: its clock is then this machine's. It goes by the
// process's name.
func ServedHere() bool {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return false
	}
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == "kube-apiserver" {
			return true
		}
	}
	return false
}
