// Package session holds what correlation produces: one container administration
// command from end to end, and its revisions.
//
// The JSON form of Session is the product's public, stable output (`--json`,
// HTTP API, exports); docs/reference holds its generated schema. Absent is
// absent: a field without a value is left out, never empty. The package is
// pure.
package session

import (
	"time"

	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/event"
)

// ID names a session. It is derived from what the session is (runtime exec id
// and container, or root process and boot), so the same evidence gives the same
// id on every run: 16 lower-case base32 characters.
type ID string

// Kind says what a session is.
type Kind string

// The kinds of session.
const (
	KindStart       Kind = "start"       // a container's own first process: entrypoint and command
	KindExec        Kind = "exec"        // exec through a service door
	KindAttach      Kind = "attach"      // streams joined to a running process; no process of its own
	KindHealthcheck Kind = "healthcheck" // run by the daemon from the container's own specification
	KindEnter       Kind = "enter"       // went in beside every service: nsenter, setns, chroot into a container's root
	KindRuntime     Kind = "runtime"     // ctr or runc beside Docker
	KindCopy        Kind = "copy"        // files in or out
	KindProbe       Kind = "probe"       // run by the kubelet, again and again, from the pod's specification
	KindHook        Kind = "hook"        // run by the kubelet when a container starts or stops
	KindDebug       Kind = "debug"       // a container put beside others to look at them
	KindForward     Kind = "forward"     // port-forward; no process of its own
	KindProxy       Kind = "proxy"       // a request to something inside a pod or node, through the API server
	KindChange      Kind = "change"      // an object that carries commands was made or changed
	KindIdentity    Kind = "identity"    // a machine's identity in other hands
	KindDoor        Kind = "door"        // who may pass the API server's doors was changed: a webhook, an admission policy, a role
	KindRequest     Kind = "request"     // a request to a service that runs no command and changes none: a stop, a list
)

// State is how far a session has come.
type State string

// The states of a session.
const (
	StateRunning State = "running"
	StateEnded   State = "ended"
	StateFailed  State = "failed" // asked for, but no command ran
	// StateWaiting: asked for at a guard, whose rules want a second person, who has not
	// answered yet.
	StateWaiting State = "waiting"
	// StateUnknown: it began, and whoever tells of it never tells of ends.
	StateUnknown State = "unknown"
)

// Open reports whether more is to come of a session in that state.
func (s State) Open() bool { return s == StateRunning || s == StateWaiting }

// Session is one container administration command from end to end.
type Session struct {
	ID       ID            `json:"id"`
	Revision uint32        `json:"revision"`
	Kind     Kind          `json:"kind"`
	Channel  event.Channel `json:"channel"`
	State    State         `json:"state"`

	// Created is when it was prepared, of an exec that is created first and
	// started by another request.
	Created  *time.Time `json:"created,omitempty"`
	Started  time.Time  `json:"started"`
	Ended    *time.Time `json:"ended,omitempty"`
	ExitCode *int       `json:"exit_code,omitempty"`

	Attribution Attribution `json:"attribution"`
	// Actor is who asked, when exactly one is known; Kind ActorNone otherwise.
	Actor  Actor  `json:"actor"`
	Target Target `json:"target"`

	// Argv is the command as asked for; absent where none is (attach) or when
	// only what ran is known (then the first of Processes shows it).
	Argv []string `json:"-"`
	// ArgvSource is "request", "inspect" or "process"; of a command of which
	// only one joined string is known, its quoting lost, "event" (Docker's) or
	// "log" (another tool's).
	ArgvSource string `json:"argv_source,omitempty"`
	TTY        bool   `json:"tty"`
	// Stdin says whether standard input was asked for, so that more can be typed
	// than Argv; absent when nobody told.
	Stdin      *bool  `json:"stdin,omitempty"`
	User       string `json:"user,omitempty"`       // user asked for inside the container
	Privileged bool   `json:"privileged,omitempty"` // asked for by the request
	Path       string `json:"path,omitempty"`       // of a copy, inside the container; of a proxy, the URL's
	Direction  string `json:"direction,omitempty"`  // of a copy: "in" or "out"
	// Carried are the commands that the object or the container brings along, by
	// where they stand: those of an object that was changed, and what is run in a
	// container that starts besides Argv. At most MaxCarried.
	Carried []Carried `json:"carried,omitempty"`
	// Settings are absent where nobody told them.
	Settings *Settings `json:"settings,omitempty"`

	// Decision is what a guard decided about it; absent where none stood in the way.
	Decision *Decision `json:"decision,omitempty"`

	// Processes is the tree as it ran, in order of start, the root first. At
	// most MaxProcesses are kept here; ProcessesTotal counts all.
	Processes      []Process `json:"processes,omitempty"`
	ProcessesTotal int       `json:"processes_total,omitempty"`

	Unexplained Unexplained `json:"unexplained"`
	// LostRecords counts kernel records lost while the session ran, on any
	// CPU: some of them may have been its own.
	LostRecords uint64 `json:"lost_records"`
	// Gaps says in words what could not be seen of this session.
	Gaps []string `json:"gaps,omitempty"`
	// AuditID is the API server's id of the request; the client may have chosen it.
	AuditID event.AuditID `json:"audit_id,omitempty"`
	// Verb is what the request to the API server wants done, for example
	// "create" or "patch", where its audit log tells.
	Verb string `json:"verb,omitempty"`
	// ExecID is the runtime's id of the exec.
	ExecID event.ExecID `json:"exec_id,omitempty"`
	// SupersededBy names the session that this one turned out to be part of.
	SupersededBy ID `json:"superseded_by,omitempty"`

	Evidence []Evidence `json:"evidence,omitempty"`
}

// Decision is what a guard decided about the request behind a session.
type Decision struct {
	// Effect is allow, deny or approve: what the rules say.
	Effect effect.Effect `json:"effect"`
	// Rule decided; absent when it was the default, or what holds without rules.
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message,omitempty"` // as the asker got it
	// Approver said yes or no, where the effect is approve and somebody did.
	Approver string `json:"approver,omitempty"`
	// Stopped says that it was not carried out.
	Stopped bool `json:"stopped"`
}

// MaxCarried bounds Session.Carried.
const MaxCarried = 64

// Carried is a command that stands in an object and is run later, by itself.
type Carried struct {
	Place     Place  `json:"place"`
	Container string `json:"container,omitempty"` // its name in the pod
	// Name is that of a variable; Argv then has its value, where that is known.
	Name string   `json:"name,omitempty"`
	Argv []string `json:"argv,omitempty"`
}

// CarriedVariable is a variable that makes programs load or run something.
func CarriedVariable(v event.Variable) Carried {
	return Carried{Place: PlaceVariable, Name: v.Name, Argv: []string{v.Value}}
}

// Place is where in an object a command stands.
type Place string

// The places of commands.
const (
	PlaceCommand     Place = "command" // what a container runs
	PlaceLiveness    Place = "liveness"
	PlaceReadiness   Place = "readiness"
	PlaceStartup     Place = "startup"
	PlacePostStart   Place = "post_start"
	PlacePreStop     Place = "pre_stop"
	PlaceHealthcheck Place = "healthcheck" // Docker's
	PlaceVariable    Place = "variable"    // of the environment
)

// MaxProcesses bounds Session.Processes. What lies beyond stays in the store's
// observations.
const MaxProcesses = 256

// Attribution says how the actor is known.
type Attribution struct {
	Level Level `json:"level"`
	// Via names the keys that led there, strongest first, for example
	// "docker-request", "exec-id".
	Via []string `json:"via,omitempty"`
	// Candidates lists everybody who fits, when Level is set.
	Candidates []Actor `json:"candidates,omitempty"`
}

// Level is the strength of an attribution.
type Level string

// The levels of attribution, strongest first.
const (
	LevelExact  Level = "exact"  // tied by an id
	LevelStrong Level = "strong" // only one candidate fits
	LevelSet    Level = "set"    // several fit: all are listed, none is picked
	LevelNone   Level = "none"   // nobody known
)

// ActorKind says what kind of identity an actor has.
type ActorKind string

// The kinds of actor.
const (
	ActorUnix       ActorKind = "unix"
	ActorKubernetes ActorKind = "kubernetes"
	ActorTLS        ActorKind = "tls"
	// ActorNone has no identity; Address may still say from where it came, and
	// Service that it was no person at all.
	ActorNone ActorKind = "none"
)

// Actor is who asked.
type Actor struct {
	Kind     ActorKind `json:"kind"`
	User     string    `json:"user,omitempty"`
	UID      *uint32   `json:"uid,omitempty"`
	LoginUID *uint32   `json:"login_uid,omitempty"`
	// LoginUser is the name of LoginUID, when it differs from User.
	LoginUser string   `json:"login_user,omitempty"`
	PID       uint32   `json:"pid,omitempty"`
	Exe       string   `json:"exe,omitempty"`
	Argv      []string `json:"-"`
	Address   string   `json:"address,omitempty"`
	// Service names the daemon that acted by itself, on a specification: a
	// health check, a restart policy. No person asked at that moment.
	Service   event.Service   `json:"service,omitempty"`
	UserAgent string          `json:"user_agent,omitempty"`
	Process   event.ProcessID `json:"process,omitzero"`
	// Container is where the actor's own process runs, when in a container.
	Container event.ContainerID `json:"container,omitempty"`
	// Session is the session that the actor's process belongs to: somebody who
	// came in that way asked for this one.
	Session ID `json:"session,omitempty"`

	// Names are those that a certificate gives besides User: DNS names, e-mail
	// addresses, IP addresses, URIs.
	Names []string `json:"names,omitempty"`

	// Of ActorKubernetes: what the API server authenticated.
	KubeUID string              `json:"kubernetes_uid,omitempty"`
	Groups  []string            `json:"groups,omitempty"`
	Extra   map[string][]string `json:"extra,omitempty"`
	// Impersonator is who really authenticated and acted as the actor.
	Impersonator *Identity `json:"impersonator,omitempty"`
	// Deputy says that the actor is a service account: a program asked, and
	// who told it to is known only to that program.
	Deputy bool `json:"deputy,omitempty"`
	// Doubts says in words why this identity may be in other hands.
	Doubts []string `json:"doubts,omitempty"`
}

// Identity is a Kubernetes identity.
type Identity struct {
	User   string              `json:"user"`
	UID    string              `json:"uid,omitempty"`
	Groups []string            `json:"groups,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
}

// Target is the container.
type Target struct {
	ContainerID   event.ContainerID `json:"container_id,omitempty"`
	ContainerName string            `json:"container_name,omitempty"`
	Image         string            `json:"image,omitempty"`
	ImageID       string            `json:"image_id,omitempty"`
	Runtime       string            `json:"runtime,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Pod           string            `json:"pod,omitempty"`
	PodUID        string            `json:"pod_uid,omitempty"`
	Namespace     string            `json:"namespace,omitempty"`
	Workload      string            `json:"workload,omitempty"` // "Kind/name" of what made the pod, or of what was changed
	Node          string            `json:"node,omitempty"`
	// HostAccess is what of the host the container is given; of a change, all
	// containers of the object. Absent while nobody told its specification.
	HostAccess *event.HostAccess `json:"host_access,omitempty"`
}

// Process is one process of a session. A program that was replaced by execve
// in the same process is a further entry in Execs.
type Process struct {
	PID   uint32          `json:"pid,omitempty"` // absent where a log has none
	PPID  uint32          `json:"ppid,omitempty"`
	NSPID uint32          `json:"ns_pid,omitempty"`
	ID    event.ProcessID `json:"-"` // (pid, start in ns since boot): see start_boot
	// Start is when the process was born; for the first exec'd program of an
	// injected root, when it entered.
	Start time.Time  `json:"start"`
	End   *time.Time `json:"end,omitempty"`
	Argv  []string   `json:"-"`
	// ArgvJoined says that Argv is one string, as a log has the whole command.
	ArgvJoined bool `json:"argv_joined,omitempty"`
	// ArgvBytes and ArgvHash (FNV-1a 64, hex) describe the whole list when Argv
	// holds only its beginning.
	ArgvBytes  uint32 `json:"argv_bytes,omitempty"`
	ArgvHash   string `json:"argv_hash,omitempty"`
	Exe        string `json:"exe,omitempty"`
	Filename   string `json:"filename,omitempty"` // as passed to execve, when it differs from Exe
	Inode      uint64 `json:"inode,omitempty"`
	UpperLayer bool   `json:"upper_layer,omitempty"`
	Memfd      bool   `json:"memfd,omitempty"`
	UID        uint32 `json:"uid"`
	GID        uint32 `json:"gid"`
	// NoUID and NoGID say that UID and GID are not known; in JSON they are then
	// absent. UserName is the name that a log has instead.
	NoUID    bool   `json:"-"`
	NoGID    bool   `json:"-"`
	UserName string `json:"user_name,omitempty"`
	TTY      string `json:"tty,omitempty"`
	ExitCode *int   `json:"exit_code,omitempty"`
	Signal   int    `json:"signal,omitempty"`
	// Forked says that no execve was seen: the process runs its parent's
	// program (a subshell, a busybox applet).
	Forked bool `json:"forked,omitempty"`
	// Execs lists earlier programs of the same process, oldest first.
	Execs []Program `json:"execs,omitempty"`
}

// Program is one execve of a process that was later replaced by another.
type Program struct {
	Time time.Time `json:"time"`
	Argv []string  `json:"-"`
	// ArgvJoined is as in Process.
	ArgvJoined bool   `json:"argv_joined,omitempty"`
	Exe        string `json:"exe,omitempty"`
}

// Unexplained says whether a session lacks its other half.
type Unexplained struct {
	Is     bool   `json:"is"`
	Reason string `json:"reason,omitempty"`
}

// Evidence is one observation that a session rests on, in a person's words.
type Evidence struct {
	Time    time.Time     `json:"time"`
	Witness event.Witness `json:"witness"`
	What    string        `json:"what"` // observation and action, for example "docker_event exec_create"
	Detail  string        `json:"detail,omitempty"`
}

// Revision is one published state of a session and what changed since the one
// before.
type Revision struct {
	Session Session  `json:"session"`
	Changed []string `json:"changed"`
}
