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

// RuntimeContainer is what containerd knows of a container at Time: under CRI,
// which pod it belongs to.
type RuntimeContainer struct {
	Header
	Namespace string      `json:"namespace"`
	ID        ContainerID `json:"id"`
	Image     string      `json:"image,omitempty"`
	Runtime   string      `json:"runtime,omitempty"`
	// Name is the container's name in its pod.
	Name         string `json:"name,omitempty"`
	Pod          string `json:"pod,omitempty"`
	PodNamespace string `json:"pod_namespace,omitempty"`
	PodUID       string `json:"pod_uid,omitempty"`
	// Sandbox says that it is the pod's pause container; SandboxID names it
	// for the others.
	Sandbox   bool        `json:"sandbox,omitempty"`
	SandboxID ContainerID `json:"sandbox_id,omitempty"`
	// Attempt counts restarts of the container in its pod.
	Attempt int       `json:"attempt,omitempty"`
	Argv    []string  `json:"argv,omitempty"` // of its first process
	TTY     bool      `json:"tty,omitempty"`
	Created time.Time `json:"created,omitzero"`
}
