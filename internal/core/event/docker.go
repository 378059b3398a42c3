package event

import "time"

// DockerEvent is one entry of Docker's event stream that concerns a container.
//
// It proves less than it seems to: it has no identity and no exact argv, and
// container labels can overwrite every attribute (channels.md §1, fact 6).
type DockerEvent struct {
	Header
	Action    DockerAction `json:"action"`
	Container ContainerID  `json:"container"`
	Name      string       `json:"name,omitempty"`
	Image     string       `json:"image,omitempty"`
	// ExecID as the event states it; see Forged.
	ExecID ExecID `json:"exec_id,omitempty"`
	// Command is what follows "exec_create: ", joined with blanks by Docker.
	Command  string `json:"command,omitempty"`
	ExitCode *int   `json:"exit_code,omitempty"`
	// Health is the status of a health_status event.
	Health string `json:"health,omitempty"`
	// Forged lists the attributes among execID, exitCode, name and image that
	// the container's own labels set, and whose value here is therefore not
	// Docker's.
	Forged []string `json:"forged,omitempty"`
}

// DockerAction is what a DockerEvent reports.
type DockerAction string

// The actions that concern commands.
const (
	DockerCreate      DockerAction = "create"
	DockerStart       DockerAction = "start"
	DockerRestart     DockerAction = "restart"
	DockerDie         DockerAction = "die"
	DockerDestroy     DockerAction = "destroy"
	DockerRename      DockerAction = "rename"
	DockerExecCreate  DockerAction = "exec_create"
	DockerExecStart   DockerAction = "exec_start"
	DockerExecDie     DockerAction = "exec_die"
	DockerExecDetach  DockerAction = "exec_detach"
	DockerAttach      DockerAction = "attach"
	DockerDetach      DockerAction = "detach"
	DockerHealth      DockerAction = "health_status"
	DockerCopyIn      DockerAction = "extract-to-dir" // docker cp to the container
	DockerCopyOut     DockerAction = "archive-path"   // docker cp from the container
	DockerOtherAction DockerAction = "other"
)

// DockerContainer is what inspect says of a container at Time.
type DockerContainer struct {
	Header
	ID      ContainerID `json:"id"`
	Name    string      `json:"name,omitempty"` // without the leading slash
	Image   string      `json:"image,omitempty"`
	ImageID string      `json:"image_id,omitempty"`
	Runtime string      `json:"runtime,omitempty"`
	// InitPID is the host pid of the container's first process, 0 when stopped.
	InitPID   uint32            `json:"init_pid,omitempty"`
	Created   time.Time         `json:"created,omitzero"`
	StartedAt time.Time         `json:"started_at,omitzero"`
	Argv      []string          `json:"argv,omitempty"` // entrypoint and command
	TTY       bool              `json:"tty,omitempty"`
	Stdin     *bool             `json:"stdin,omitempty"` // standard input is open
	Labels    map[string]string `json:"labels,omitempty"`
	Health    *Healthcheck      `json:"health,omitempty"`
	// AutoRestart says that the daemon may start the container by itself.
	AutoRestart bool        `json:"auto_restart,omitempty"`
	HostAccess  *HostAccess `json:"host_access,omitempty"`
	// Variables are those of its environment that are commands by another name;
	// see AppendVariable.
	Variables []Variable `json:"variables,omitempty"`
}

// Healthcheck is a command that the daemon runs in a container by itself.
type Healthcheck struct {
	// Argv is exactly what the daemon executes: for CMD-SHELL the container's
	// shell and its arguments come first.
	Argv     []string `json:"argv"`
	Interval Duration `json:"interval,omitempty"`
}

// DockerExec is what inspect says of an exec at Time.
type DockerExec struct {
	Header
	ID         ExecID      `json:"id"`
	Container  ContainerID `json:"container"`
	PID        uint32      `json:"pid,omitempty"` // host pid, while it runs
	Argv       []string    `json:"argv,omitempty"`
	TTY        bool        `json:"tty,omitempty"`
	Stdin      *bool       `json:"stdin,omitempty"` // standard input is open
	User       string      `json:"user,omitempty"`
	Privileged bool        `json:"privileged,omitempty"`
	Running    bool        `json:"running,omitempty"`
	ExitCode   *int        `json:"exit_code,omitempty"`
}

// RequestID names one request on one connection: the Nth, counted from 0.
type RequestID struct {
	Conn ConnID `json:"conn"`
	N    uint32 `json:"n"`
}

// DockerRequest is a request of a client to the Docker API as the daemon
// received it.
type DockerRequest struct {
	Header
	ID   RequestID `json:"id"`
	Peer Peer      `json:"peer"`
	Op   DockerOp  `json:"op"`
	// Ref is the container as the client named it: full id, short id or name.
	Ref    string `json:"ref,omitempty"`
	ExecID ExecID `json:"exec_id,omitempty"`
	// Argv is the command list of an exec create, or entrypoint and command of
	// a container create when the request has both; absent when the body was
	// not seen whole.
	Argv       []string `json:"argv,omitempty"`
	TTY        bool     `json:"tty,omitempty"`
	Detach     bool     `json:"detach,omitempty"`
	Stdin      bool     `json:"stdin,omitempty"`
	User       string   `json:"user,omitempty"`
	Privileged bool     `json:"privileged,omitempty"`
	// HostAccess is what a container create asks for; absent when the body was
	// not seen whole.
	HostAccess *HostAccess `json:"host_access,omitempty"`
	// Path is the path inside the container of a copy.
	Path Text `json:"path,omitempty"`
	// UserAgent is what the client says it is.
	UserAgent string `json:"user_agent,omitempty"`
	// Certain says that this is a request and not bytes that look like one:
	// every byte before it on the connection is accounted for.
	Certain bool `json:"certain,omitempty"`
	// Plugin says that the daemon's authorization plugin tells of it, which it asked:
	// whoever saw the request come may tell of it, too. Of Peer there is no more than a
	// certificate, then.
	Plugin bool `json:"plugin,omitempty"`
}

// DockerOp is what a DockerRequest asks for.
type DockerOp string

// The operations that put, change or start a command (channels.md §3.1).
const (
	OpExecCreate      DockerOp = "exec_create"
	OpExecStart       DockerOp = "exec_start"
	OpContainerCreate DockerOp = "container_create"
	OpContainerStart  DockerOp = "container_start" // also restart
	OpAttach          DockerOp = "attach"          // also attach/ws
	OpCopyIn          DockerOp = "copy_in"
	OpCopyOut         DockerOp = "copy_out"
	OpOther           DockerOp = "other"
)

// DockerAnswer is the daemon's answer to a DockerRequest.
type DockerAnswer struct {
	Header
	ID     RequestID `json:"id"`
	Op     DockerOp  `json:"op"`
	Status int       `json:"status"`
	// Created is the id in the body of a create's answer: an exec id or a
	// container id.
	Created string `json:"created,omitempty"`
}
