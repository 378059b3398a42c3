// Package event holds observations: the facts that witnesses report, as a
// closed set of Go types.
//
// A witness parses what it hears from the outside world once, at its own edge,
// into one of these types. Everything further in (correlation, rules, store,
// replay) works on them and on nothing else. The package is pure: it reads no
// clock and does no I/O; every time in it came with the data.
//
// Strings that came from outside (argv, names, paths) are kept byte-exact. They
// may hold invalid UTF-8, control characters and ANSI sequences; whoever shows
// them to a person must escape them.
package event

import "time"

// Observation is one fact from one witness at one time.
//
//sumtype:decl
type Observation interface {
	// Head returns what all observations have in common.
	Head() Header
	observation()
}

// Header is what all observations have in common.
type Header struct {
	// Time is when the fact happened, by the clock of the witness's host, UTC.
	Time time.Time `json:"time"`
	// Witness is who reported it.
	Witness Witness `json:"witness"`
	// Node is the host that it happened on, where observations of several
	// hosts come together; absent on the host itself, and for what concerns a
	// whole cluster.
	Node string `json:"node,omitempty"`
}

// Head implements Observation.
func (h Header) Head() Header { return h }

// Witness names a source of observations.
type Witness string

// The witnesses of this version.
const (
	WitnessKernel     Witness = "kernel"     // the eBPF sensor: processes, peers, client requests
	WitnessDocker     Witness = "docker"     // Docker's event stream and inspect
	WitnessContainerd Witness = "containerd" // containerd's event stream
	WitnessCRIO       Witness = "crio"       // CRI-O's containers
	WitnessAudit      Witness = "audit"      // the API server's audit log
	WitnessAdmission  Witness = "admission"  // Sallyport's admission webhook
	WitnessKube       Witness = "kube"       // the API server's pods
	WitnessNodes      Witness = "nodes"      // the collector's end of the links to nodes
	WitnessGuard      Witness = "guard"      // Sallyport's proxy in front of a service
	WitnessGate       Witness = "gate"       // Sallyport's socket gate: who may not connect, and tried
	WitnessEngine     Witness = "engine"     // Sallyport itself: ticks, host facts
)

// The witnesses that are other tools' logs (internal/hostlog, internal/docker/daemonlog).
const (
	WitnessFalco     Witness = "falco"      // Falco's alerts
	WitnessTetragon  Witness = "tetragon"   // Tetragon's export
	WitnessAuditd    Witness = "auditd"     // the Linux audit log
	WitnessSysmon    Witness = "sysmon"     // Sysmon, on Linux and Windows
	WitnessSecurity  Witness = "security"   // the Windows Security log
	WitnessDockerLog Witness = "docker-log" // the Docker daemon's log
)

// Log reports whether w is another tool's log. It is a selection: what it does
// not tell may have happened.
func (w Witness) Log() bool {
	switch w {
	case WitnessFalco, WitnessTetragon, WitnessAuditd, WitnessSysmon, WitnessSecurity, WitnessDockerLog:
		return true
	}
	return false
}
