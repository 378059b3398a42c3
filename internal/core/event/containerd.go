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

// RuntimeContainer is what containerd, CRI-O or a log knows of a container at Time:
// under CRI, which pod it belongs to.
type RuntimeContainer struct {
	Header
	// Namespace is containerd's; empty when somebody else tells of it.
	Namespace string `json:"namespace"`
	// ID is the beginning of the id, at least 12 digits, where a log has no more.
	ID      ContainerID `json:"id"`
	Image   string      `json:"image,omitempty"`
	Runtime string      `json:"runtime,omitempty"`
	// Name is the container's name in its pod; outside pods, as a log has it.
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
	// HostAccess is CRI's word, and without CRI what the OCI specification
	// comes to; absent for a sandbox.
	HostAccess *HostAccess `json:"host_access,omitempty"`
}

// RuntimeRequest is a request of a client to containerd's own API or to the
// container runtime interface (CRI), as the service received it. Only requests
// that put, change or start a command are reported; their answers are not.
type RuntimeRequest struct {
	Header
	ID      RequestID  `json:"id"`
	Peer    Peer       `json:"peer"`
	Service Service    `json:"service"`
	API     RuntimeAPI `json:"api"`
	Op      RuntimeOp  `json:"op"`
	// Namespace is containerd's, as the client chose it; absent with CRI.
	Namespace string `json:"namespace,omitempty"`
	// Container is what the client named. containerd's own API takes full ids
	// only, CRI also the beginning of one.
	Container ContainerID `json:"container,omitempty"`
	// Sandbox is the pod's, of a CRI create and a port-forward.
	Sandbox ContainerID `json:"sandbox,omitempty"`
	// ExecID is the client's choice (exec, start); absent with CRI, where the
	// runtime draws one, and for a container's first process.
	ExecID ExecID `json:"exec_id,omitempty"`
	// Argv is the command list; of a create only when the request has one.
	Argv  []string `json:"argv,omitempty"`
	TTY   bool     `json:"tty,omitempty"`
	Stdin bool     `json:"stdin,omitempty"`
	// User is who the command runs as, when the request says so.
	User string `json:"user,omitempty"`
	// Timeout of an exec_sync, in seconds: 0 is none.
	Timeout *int64 `json:"timeout,omitempty"`
	// Ports of a port-forward.
	Ports []int32 `json:"ports,omitempty"`
	// UserAgent is what the client says it is.
	UserAgent string `json:"user_agent,omitempty"`
	// Cut says that the request was not seen whole: what is absent here may
	// have been in it.
	Cut bool `json:"cut,omitempty"`
	// Certain says that this is a request and not bytes that look like one:
	// every byte before it on the connection is accounted for.
	Certain bool `json:"certain,omitempty"`
}

// RuntimeAPI is the interface that a RuntimeRequest uses.
type RuntimeAPI string

// The interfaces of container runtimes.
const (
	APIContainerd RuntimeAPI = "containerd"
	APICRI        RuntimeAPI = "cri"
)

// RuntimeOp is what a RuntimeRequest asks for.
type RuntimeOp string

// The operations that put, change or start a command. With containerd's own API
// an exec is added and then started, and so is a task; CRI starts a container
// that was created, and runs an exec at once (exec_sync) or when its stream is
// opened (exec_stream).
const (
	RuntimeOpCreateContainer RuntimeOp = "create_container"
	RuntimeOpCreateTask      RuntimeOp = "create_task"
	RuntimeOpStart           RuntimeOp = "start"
	RuntimeOpExec            RuntimeOp = "exec"
	RuntimeOpExecSync        RuntimeOp = "exec_sync"
	RuntimeOpExecStream      RuntimeOp = "exec_stream"
	RuntimeOpAttach          RuntimeOp = "attach"
	RuntimeOpPortForward     RuntimeOp = "port_forward"
	// RuntimeOpOther, not Certain, says that from here on not all requests of
	// the connection are seen.
	RuntimeOpOther RuntimeOp = "other"
)
