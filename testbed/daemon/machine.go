//go:build linux

package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// sysctlFile keeps the machine's settings in a daemon's directory.
const sysctlFile = "sysctl"

// KeepSysctls notes settings of the whole machine, by names as sysctl has them,
// that the daemon in dir is going to change; Clean restores them. Where another
// daemon has noted them already, its note holds: it knows the machine as it
// was.
func KeepSysctls(dir string, names ...string) error {
	earlier, _ := filepath.Glob(filepath.Join(base(), prefix+"*", sysctlFile))
	for _, file := range earlier {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			return os.WriteFile(filepath.Join(dir, sysctlFile), b, 0o600)
		}
	}
	var out bytes.Buffer
	for _, name := range names {
		if b, err := os.ReadFile(sysctlPath(name)); err == nil {
			fmt.Fprintf(&out, "%s %s\n", name, bytes.TrimSpace(b))
		}
	}
	return os.WriteFile(filepath.Join(dir, sysctlFile), out.Bytes(), 0o600)
}

func sysctlPath(name string) string { return "/proc/sys/" + strings.ReplaceAll(name, ".", "/") }

func restoreSysctls(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, sysctlFile))
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if now, err := os.ReadFile(sysctlPath(name)); err == nil && strings.TrimSpace(string(now)) != value {
			os.WriteFile(sysctlPath(name), []byte(value), 0)
		}
	}
}

// removeStrays removes what the kubelet and the network plugins keep of pods at
// fixed places: links to logs, and results by network, whose name begins with
// that of the daemon's directory, and by sandbox.
func removeStrays(dir string, containers []string) {
	results := []string{filepath.Base(dir) + "-*"}
	for _, id := range containers {
		results = append(results, "*-"+id+"-*")
	}
	for _, p := range glob("/var/lib/cni/results", results...) {
		os.Remove(p)
	}
	for _, p := range glob("/var/log/containers", "*.log") {
		if to, err := os.Readlink(p); err == nil && strings.HasPrefix(to, dir+"/") {
			os.Remove(p)
		}
	}
	if len(glob(dir, "node*")) > 0 {
		removeStale("/var/lib/kubelet/device-plugins/kubelet.sock")
	}
}

// removeStale removes a unix socket that nobody listens on.
func removeStale(path string) {
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		os.Remove(path)
	}
}
