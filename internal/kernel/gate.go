package kernel

import (
	"strings"
	"time"
)

// GateDir is where the gate is pinned when nobody says otherwise.
const GateDir = "/sys/fs/bpf/sallyport/gate"

// Gate is the socket gate of this host: programs in the kernel that say who may
// connect to a runtime's own socket (docs/decisions/0016-socket-gate.md). It is
// nothing but what is pinned in a directory of a BPF file system, and works
// without any process. Its methods are for Linux; elsewhere they fail.
type Gate struct {
	dir string
}

// NewGate returns the gate that is, or will be, pinned in dir.
func NewGate(dir string) *Gate { return &Gate{dir: dir} }

// GateConfig says what a gate guards and whom it lets through.
type GateConfig struct {
	// Sockets are the paths of the sockets. One that nobody listens at yet is
	// guarded as soon as somebody does.
	Sockets []string `json:"sockets"`
	// Enforce refuses; without it, whoever would be refused is only reported.
	Enforce bool `json:"enforce"`
	// Hook is the only place where the gate may stand; "" for the best there is.
	Hook GateHook `json:"hook,omitempty"`
	// Exes and UIDs are let through on the host, which is the pid namespace that
	// the gate is switched on in; Cgroups with all below them, anywhere. A
	// cgroup is a path in the hierarchy that counts processes, or below its
	// mount point.
	Exes    []GateExe `json:"executables,omitempty"`
	UIDs    []uint32  `json:"uids,omitempty"`
	Cgroups []string  `json:"cgroups,omitempty"`
}

// GateExe is an executable file, run by a user. The file counts, not its name:
// one that is put in its place later is another.
type GateExe struct {
	Path string `json:"path"`
	UID  uint32 `json:"uid"`
}

// GateHook is where in the kernel a gate stands.
type GateHook string

// The hooks, the best first. At the socket, which is the first two, everybody is
// refused with an error, whatever path he came by. At the address that is so for
// paths that can be followed beforehand; who comes by another one is killed when
// he arrives, and whoever shares the connection with him may have used it by then.
const (
	GateAtLSM     GateHook = "lsm"
	GateAtSocket  GateHook = "socket"
	GateAtAddress GateHook = "address"
)

// GateStatus is what a gate is doing.
type GateStatus struct {
	GateConfig
	Stands GateHook  `json:"stands"`
	Since  time.Time `json:"since"`
	// Absent are the sockets at which nobody listened when the gate was switched on.
	Absent []string   `json:"absent,omitempty"`
	Counts GateCounts `json:"counts"`
}

// GateCounts are connects since the gate was switched on.
type GateCounts struct {
	Allowed uint64 `json:"allowed"`
	Seen    uint64 `json:"seen"` // would have been refused
	Refused uint64 `json:"refused"`
	Killed  uint64 `json:"killed"`
	// Lost are those of the latter three whose sighting found no room: it is
	// made when somebody follows the gate.
	Lost uint64 `json:"lost"`
}

// GateUnavailableError says that no gate can stand in this kernel.
type GateUnavailableError struct {
	// Tried holds why each hook is not to be had, in the order they were tried.
	Tried []GateAttempt
}

// GateAttempt is a hook that is not to be had.
type GateAttempt struct {
	Hook GateHook
	Err  error
}

// Error implements error.
func (e *GateUnavailableError) Error() string {
	var parts []string
	for _, t := range e.Tried {
		parts = append(parts, gateHooks[t.Hook]+": "+t.Err.Error())
	}
	return "the kernel has no place for the gate: " + strings.Join(parts, "; ")
}

// gateListing is no hook, but nothing can be guarded without it.
const gateListing GateHook = "listing"

// gateHooks names each hook and since when Linux has it.
var gateHooks = map[GateHook]string{
	GateAtLSM:     "lsm/unix_stream_connect (Linux 5.17, with bpf in lsm=)",
	GateAtSocket:  "fmod_ret/security_unix_stream_connect (Linux 5.17)",
	GateAtAddress: "cgroup/connect_unix and tp_btf/sk_data_ready (Linux 6.8)",
	gateListing:   "iter/unix (Linux 5.17)",
}

// Hint implements what command lines print below an error.
func (e *GateUnavailableError) Hint() string {
	return "run as root, on Linux 5.17 or later that has trampolines (CONFIG_FUNCTION_TRACER, and CONFIG_BPF_LSM for lsm), or on 6.8 or later with a cgroup2 hierarchy mounted; sallyport doctor says what the kernel allows"
}

const (
	// ErrGateOff says that no gate is pinned.
	ErrGateOff constError = "no gate is on"

	errGateNotHit constError = "it loads and is not asked when somebody connects"
)
