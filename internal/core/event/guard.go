package event

import "github.com/sallyport/sallyport/internal/core/effect"

// Decision is what a guard decided about a request, before the service got it.
// The request itself is a DockerRequest of the same ID, from the same guard. Of a guard
// at a container runtime there is none: ExecID says what was to begin or, where there
// is none, that it was Container itself; and Argv is its command.
type Decision struct {
	Header
	Request   RequestID   `json:"request,omitzero"`
	Container ContainerID `json:"container,omitempty"`
	ExecID    ExecID      `json:"exec_id,omitempty"`
	Argv      []string    `json:"argv,omitempty"`
	Channel   Channel     `json:"channel,omitempty"`
	// Kind is what kind of session it is, or would have been (session.Kind).
	Kind string `json:"kind,omitempty"`
	// Effect is allow, deny or approve: what the rules say.
	Effect effect.Effect `json:"effect"`
	// Rule decided; absent when it was the default, or what holds without rules.
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message,omitempty"`
	// Approver said yes or no, where the effect is approve and somebody did.
	Approver string `json:"approver,omitempty"`
	// Stopped says that the request was not carried out. One that is not allowed,
	// not approved and not stopped was only observed.
	Stopped bool `json:"stopped,omitempty"`
	// Waiting says that a second person is asked. What becomes of the request is
	// another Decision about it.
	Waiting bool `json:"waiting,omitempty"`
}

// GateSighting is somebody whom the socket gate does not let through, connecting to
// a runtime's own socket.
type GateSighting struct {
	Header
	Verdict GateVerdict `json:"verdict"`
	// Socket is the guarded one, as it was configured.
	Socket Text `json:"socket"`
	// Asked is the address that was asked for; absent where the hook does not
	// see it.
	Asked Text `json:"asked,omitempty"`
	Peer  Peer `json:"peer"`
	// Cgroup is the process's, as far as it was read.
	Cgroup string `json:"cgroup,omitempty"`
}

// GateVerdict is what the socket gate did with somebody whom it does not let
// through.
type GateVerdict string

// The verdicts.
const (
	GateSeen    GateVerdict = "seen" // let through, since the gate only observes
	GateRefused GateVerdict = "refused"
	GateKilled  GateVerdict = "killed"
)
