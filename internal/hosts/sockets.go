package hosts

import (
	"path"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
)

// usualSockets are the paths at which runtimes listen when nobody says otherwise, as
// patterns.
var usualSockets = []string{
	"/run/docker.sock", "/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock",
	"/run/k3s/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock", "/run/buildkit/buildkitd.sock",
	"/run/user/*/docker.sock", "/run/user/*/podman/podman.sock", "/run/user/*/containerd/containerd.sock", "/run/user/*/buildkit/buildkitd.sock",
}

// programs are the runtimes by the names of their programs.
var programs = map[string]inventory.Service{
	"dockerd": inventory.ServiceDocker, "containerd": inventory.ServiceContainerd, "crio": inventory.ServiceCRIO,
	"podman": inventory.ServicePodman, "buildkitd": inventory.ServiceBuildKit, "k3s-server": inventory.ServiceContainerd,
}

// files are the runtimes by the names of their sockets.
var files = map[string]inventory.Service{
	"docker.sock": inventory.ServiceDocker, "containerd.sock": inventory.ServiceContainerd, "crio.sock": inventory.ServiceCRIO,
	"podman.sock": inventory.ServicePodman, "buildkitd.sock": inventory.ServiceBuildKit,
}

// serviceOf says whose API a listening socket has, by the program that listens (""
// when it is not known) and by its path; "" when it is none by which a command can
// be asked for.
func serviceOf(program, socket string) inventory.Service {
	base := path.Base(socket)
	if s, ok := files[base]; ok {
		return s
	}
	s := programs[program]
	if s == "" || strings.HasSuffix(base, ".ttrpc") || strings.Contains(base, "debug") || strings.Contains(base, "metrics") || strings.Contains(socket, "/libnetwork/") {
		return ""
	}
	return s
}
