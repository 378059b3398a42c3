// Package vm is the lane of other kernels: it boots kernels that this machine
// does not run in QEMU, on a pure cgroup v2 host without a network, and proves
// there that the committed sensor objects load, that the sensor sees what they
// allow, and that it says so when they allow less.
//
// A virtual machine holds one static program (guest) that is its first process,
// plays a scenario with the real runc and reports what the sensor saw. Kernels
// come from Debian's archive and are kept in the user's cache directory. QEMU
// emulates the processor: KVM is not needed, and root neither.
package vm

import (
	"encoding/json"
	"strconv"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
)

// The lines on the console that enclose the report, a JSON document.
const (
	BeginReport = "=== sallyport report"
	EndReport   = "=== sallyport end"
)

// StartOnly on the kernel's command line, after "--", has the guest play no
// scenario: the sensor is stopped as soon as it is up.
const StartOnly = "start-only"

// GateAt on the kernel's command line, after "--" and before a hook, has the
// guest play the gate's scenario instead; the hook may be empty.
const GateAt = "gate-at="

// The containers of the scenario: one for each way in which engines name
// cgroups. Found is there before the sensor is.
const (
	Found  event.ContainerID = "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0"
	Docker event.ContainerID = "d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0"
	CRIO   event.ContainerID = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
	Cloned event.ContainerID = "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0"
)

// Cgroups says where in the hierarchy each container is: Docker's cgroupfs and
// systemd drivers, CRI-O below a systemd-style pod, containerd's CRI.
func Cgroups() map[event.ContainerID]string {
	const pod = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podb0b0.slice/"
	return map[event.ContainerID]string{
		Found:  "/docker/" + string(Found),
		Docker: "/system.slice/docker-" + string(Docker) + ".scope",
		CRIO:   pod + "crio-" + string(CRIO) + ".scope",
		Cloned: pod + "cri-containerd-" + string(Cloned) + ".scope",
	}
}

// Socket is where the service of the scenario listens. It answers every request
// with ExecID.
const (
	Socket  = "/run/docker.sock"
	TCPDoor = "127.0.0.1:2375"
	ExecID  = "e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0"
)

// OtherUID is the user of the second client.
const OtherUID = 1000

// ClientMark is the command that a user's client asks for.
func ClientMark(uid uint32) string { return "asked-by-" + strconv.Itoa(int(uid)) }

// Marks are arguments of programs that a test looks for. Those of programs that
// stay are seconds to sleep.
const (
	MarkInit         = "100000"
	MarkFoundExec    = "100001"
	MarkExecInFound  = "exec-in-found"
	MarkExecInCRIO   = "exec-in-crio"
	MarkClonedExec   = "exec-in-cloned"
	MarkUpper        = "upper-layer"
	MarkOrphan       = "orphan"
	MarkTCP          = "by-tcp"
	MarkNsenter      = "nsenter"
	MarkNsenterMount = "nsenter-mount"
	MarkChroot       = "chroot"
)

// Report is what a guest tells.
type Report struct {
	// Kernel is the release, as uname says it.
	Kernel string `json:"kernel"`
	// Level and Features are what Probe found; Missing holds the reasons of
	// the features that cannot be used, by name.
	Level   kernel.Level      `json:"level"`
	Missing map[string]string `json:"missing,omitempty"`
	// Error is why the scenario or the sensor ended early; "" when they did not.
	Error string `json:"error,omitempty"`
	// Inits are the host's pids of the containers' first processes, as the
	// runtime wrote them down.
	Inits map[event.ContainerID]uint32 `json:"inits,omitempty"`
	// Killed is the host's pid of the process that was killed from outside.
	Killed uint32 `json:"killed,omitempty"`
	// Clients are the pids of the service's clients on the host, by uid.
	Clients map[uint32]uint32 `json:"clients,omitempty"`
	// TCPClient is the pid of the one that came by TCP, which is OtherUID's.
	TCPClient uint32 `json:"tcp_client,omitempty"`
	// Observations are in wire form, in the order of emission.
	Observations []json.RawMessage `json:"observations,omitempty"`
	Segments     []event.Segment   `json:"segments,omitempty"`
	// Status is the sensor's at the end of the scenario.
	Status kernel.Status `json:"status"`
	// Gate is what came of the gate's scenario.
	Gate *GateReport `json:"gate,omitempty"`
}

// GateReport says how attempts to connect to Socket ended, by what they are
// called: GateThrough, GateRefused or GateKilled.
type GateReport struct {
	Status    kernel.GateStatus    `json:"status"`
	Ends      map[string]string    `json:"ends"`
	Sightings []event.GateSighting `json:"sightings"`
}

// How an attempt ends.
const (
	GateThrough = "through"
	GateRefused = "refused"
	GateKilled  = "killed"
)
