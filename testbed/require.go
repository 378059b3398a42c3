// Package testbed gives tests the real things: daemons, runtimes, kernel
// features. Its sub-packages start them privately, each run in a directory of
// its own, without a network and without a registry.
package testbed

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// EnvRequire names the environment variable that lists, separated by commas,
// the capabilities whose absence is a failure and not a skip. A CI job sets it
// to what it is meant to have, so that tests cannot rot away unseen.
const EnvRequire = "SALLYPORT_REQUIRE"

// EnvEngine names the environment variable with the directory of a current Docker
// engine and its clients (testbed/docker/release). What is in it comes before the
// machine's programs, for tests and for the daemons that they start; unset, all of
// that is the machine's.
const EnvEngine = "SALLYPORT_ENGINE"

// EnvCRIO names the environment variable with the directory of a CRI-O
// (testbed/crio/release).
const EnvCRIO = "SALLYPORT_CRIO"

// The capabilities a test may require.
const (
	Root       = "root"       // uid 0 with CAP_SYS_ADMIN
	Docker     = "docker"     // root and the programs to run a Docker engine of one's own
	Containerd = "containerd" // root and the programs to run a containerd of one's own
	Podman     = "podman"     // root and the programs to run a Podman service of one's own
	Kube       = "kube"       // root, the programs of a Kubernetes node, and Kubernetes in the cache (make testbed-kube)
	BPF        = "bpf"        // root, kernel BTF and permission to load BTF tracepoint programs
	Engine     = "engine"     // docker, of today: what make test-engine builds, named by SALLYPORT_ENGINE
	Receivers  = "receivers"  // rsyslog with TLS, and an OpenTelemetry Collector in the cache (make test-receivers)
	Sidekick   = "sidekick"   // the program falcosidekick in PATH; nothing here builds or installs it
	CRIO       = "crio"       // root, the programs that CRI-O runs, and what make test-crio builds, named by SALLYPORT_CRIO
	VM         = "vm"         // amd64, QEMU and the programs to get kernels from Debian's archive
)

// Require skips the test unless the machine has every capability in caps, and
// names the first one missing and how to get it. When that one is listed in
// the environment variable SALLYPORT_REQUIRE the test fails instead.
//
// Capabilities are probed by doing (looking up the programs, loading a BPF
// program), not by reading configuration: a skip on a machine that has the
// capability is a defect of the probe.
func Require(t testing.TB, caps ...string) {
	t.Helper()
	for _, c := range caps {
		if why := Missing(c); why != "" {
			Lack(t, c, why)
		}
	}
}

// Lack ends the test because a capability turned out to be missing: as Require
// does, for what only doing can tell.
func Lack(t testing.TB, capability, why string) {
	t.Helper()
	if Required(capability) {
		t.Fatalf("capability %s is required by %s but missing: %s", capability, EnvRequire, why)
	}
	t.Skipf("capability %s is missing: %s", capability, why)
}

// Required reports whether SALLYPORT_REQUIRE names the capability.
func Required(capability string) bool {
	return slices.Contains(strings.Split(os.Getenv(EnvRequire), ","), capability)
}

// Missing says why the machine lacks a capability and how to get it; "" when it
// has it. An unknown name is missing everywhere.
func Missing(capability string) string {
	p, ok := probes()[capability]
	if !ok {
		return "no such capability is known; use one of root, docker, containerd, podman, kube, bpf, engine, receivers, sidekick, crio, vm"
	}
	return p()
}
