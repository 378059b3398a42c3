//go:build unix

package host

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
)

// TestMissing: a host without kernel sensor, Docker and containerd can still
// watch what is asked of an API server.
func TestMissing(t *testing.T) {
	seen := kernel.Features{{Name: kernel.FeatureCapabilities, Needed: true}, {Name: kernel.FeatureBTF, Needed: true}, {Name: kernel.FeatureTracepoints, Needed: true}}
	for name, tc := range map[string]struct {
		conf  config.Config
		level kernel.Features
		all   bool
		lines int
		says  string
	}{
		"nothing":       {config.Config{}, nil, true, 3, "no socket at /nonexistent/containerd.sock"},
		"audit log":     {config.Config{AuditLog: "/a.log"}, nil, false, 3, ""},
		"audit webhook": {config.Config{AuditWebhook: "127.0.0.1:9478"}, nil, false, 3, ""},
		"admission":     {config.Config{AdmissionListen: "127.0.0.1:9443"}, nil, false, 3, ""},
		"pods alone":    {config.Config{KubeKubeconfig: "/k"}, nil, true, 4, "Name its audit with --audit-log"},
		"pods, kernel":  {config.Config{KubeKubeconfig: "/k"}, seen, false, 3, "Name its audit with --audit-log"},
		"pods, audit":   {config.Config{KubeKubeconfig: "/k", AuditLog: "/a.log"}, nil, false, 3, ""},
		"kernel":        {config.Config{}, seen, false, 2, ""},
	} {
		tc.conf.Containerd = "/nonexistent/containerd.sock"
		h := &Host{conf: tc.conf, Docker: docker.Endpoint{Socket: "/nonexistent/docker.sock"}, Kernels: tc.level}
		lines, all := h.Missing()
		if all != tc.all || len(lines) != tc.lines || !strings.Contains(strings.Join(lines, "\n"), tc.says) {
			t.Errorf("%s: all %v, lines %q", name, all, lines)
		}
	}
}
