package event

import "time"

// RuntimeEvent is one entry of containerd's event stream. It carries no argv
// and no caller, but ties a runtime's exec id to a host pid.
type RuntimeEvent struct {
	Header
	Namespace string        `json:"namespace"` // "moby" under Docker, "k8s.io" under CRI
	Action    RuntimeAction `json:"action"`
	Container ContainerID   `json:"container"`
	// ExecID is absent for the container's own first process.
	ExecID ExecID `json:"exec_id,omitempty"`
	PID    uint32 `json:"pid,omitempty"` // host pid
	// ExitCode and ExitedAt come with RuntimeExit. ExitedAt may lie before the
	// Time of the exec-started of a short command.
	ExitCode *int      `json:"exit_code,omitempty"`
	ExitedAt time.Time `json:"exited_at,omitzero"`
}

// RuntimeAction is what a RuntimeEvent reports.
type RuntimeAction string

// The actions that concern commands.
const (
	RuntimeCreate      RuntimeAction = "task_create"
	RuntimeStart       RuntimeAction = "task_start"
	RuntimeExecAdded   RuntimeAction = "exec_added"
	RuntimeExecStarted RuntimeAction = "exec_started"
	RuntimeExit        RuntimeAction = "exit"
	RuntimeDelete      RuntimeAction = "task_delete"
)

// RuntimeTask is a task found by asking containerd at Time: what ran before
// the witness came.
type RuntimeTask struct {
	Header
	Namespace string      `json:"namespace"`
	Container ContainerID `json:"container"`
	ExecID    ExecID      `json:"exec_id,omitempty"`
	PID       uint32      `json:"pid,omitempty"`
	Running   bool        `json:"running,omitempty"`
}
