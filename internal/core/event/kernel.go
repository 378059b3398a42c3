package event

// SessionEntry says that a process crossed into a container from outside, or
// was found inside one with its parent outside. The process is the root of an
// entry: the kernel labels it and hands the label down at every fork, so all
// descendants carry it whatever their later parents (channels.md §1, fact 9).
type SessionEntry struct {
	Header
	Root  ProcessID  `json:"root"`
	Cause EntryCause `json:"cause"`
	// AtExec says that the root went in by itself and then executed its
	// command; otherwise Lineage[0] went in, and the root was born inside.
	AtExec bool `json:"at_exec,omitempty"`
	// Outer is the entry that whoever entered belonged to: somebody who was
	// inside a container already went on into this one. Zero from the host.
	Outer ProcessID `json:"outer,omitzero"`
	// Container is the container entered, by mount namespace, else pid
	// namespace, else cgroup; absent while it cannot be told (at the birth of
	// a new container): the first ProcessExec of the entry then carries it.
	Container ContainerID `json:"container,omitempty"`
	// Cgroup is the name of the root's own cgroup. An exec through a runtime
	// has the container's; nsenter keeps the caller's.
	Cgroup string `json:"cgroup,omitempty"`
	// InCgroup says that Cgroup is the entered container's cgroup.
	InCgroup bool   `json:"in_cgroup,omitempty"`
	MntNS    uint32 `json:"mnt_ns,omitempty"`
	PIDNS    uint32 `json:"pid_ns,omitempty"`
	Cred     Cred   `json:"cred"`
	// Lineage is the chain of parents on the host at the moment of entry, the
	// nearest first: runc, shim and so on, or nsenter, the shell, sshd.
	Lineage []Ancestor `json:"lineage,omitempty"`
}

// EntryCause is how the kernel sensor came to see an entry.
type EntryCause string

// The causes of an entry.
const (
	EntryStart      EntryCause = "start"      // first process of a new container
	EntryInjected   EntryCause = "injected"   // joined the namespaces of a running container
	EntryForeignExe EntryCause = "foreignexe" // host namespaces, executable from a container's mounts
	EntryFound      EntryCause = "found"      // was running when the sensor started; how it came is unknown
	EntryReported   EntryCause = "reported"   // a log tells of it, and not whether it was a start or an injection
)

// Ancestor is one parent on the host at the time of an entry.
type Ancestor struct {
	ID   ProcessID `json:"id"`
	Comm Text      `json:"comm,omitempty"`
	Exe  Text      `json:"exe,omitempty"`
	Argv Argv      `json:"argv"`
	Cred Cred      `json:"cred"`
	TTY  string    `json:"tty,omitempty"`
}

// ProcessExec is a successful execve.
type ProcessExec struct {
	Header
	ID     ProcessID `json:"id"`
	Parent ProcessID `json:"parent"`
	// Entry is the root of the entry the process belongs to; zero on the host.
	Entry     ProcessID   `json:"entry,omitzero"`
	Container ContainerID `json:"container,omitempty"`
	// NSPID is the pid in the process's own pid namespace.
	NSPID    uint32     `json:"ns_pid,omitempty"`
	Filename Text       `json:"filename,omitempty"` // as passed to execve
	Argv     Argv       `json:"argv"`
	Exe      Executable `json:"exe"`
	Cred     Cred       `json:"cred"`
	TTY      string     `json:"tty,omitempty"` // e.g. "pts/0"; absent without one
	Cgroup   string     `json:"cgroup,omitempty"`
}

// ProcessFork is the birth of a process that belongs to an entry. Threads do
// not count.
type ProcessFork struct {
	Header
	ID     ProcessID `json:"id"`
	Parent ProcessID `json:"parent"`
	Entry  ProcessID `json:"entry"`
	NSPID  uint32    `json:"ns_pid,omitempty"`
	Comm   Text      `json:"comm,omitempty"`
	Cred   Cred      `json:"cred"`
}

// ProcessExit is the end of a process that belongs to an entry.
type ProcessExit struct {
	Header
	ID    ProcessID `json:"id"`
	Entry ProcessID `json:"entry,omitzero"`
	// Code is the exit status; 128+Signal when a signal killed the process.
	Code   int `json:"code"`
	Signal int `json:"signal,omitempty"`
	// NoCode says that the status is not known, and not 0.
	NoCode bool `json:"no_code,omitempty"`
}

// Service is a service door: who listens on a socket.
type Service string

// The services whose clients the kernel sensor knows.
const (
	ServiceDocker     Service = "docker"
	ServiceContainerd Service = "containerd"
	ServicePodman     Service = "podman"
	ServiceCRIO       Service = "crio"
	ServiceKubelet    Service = "kubelet"
)

// Peer is the process at the client's end of a service connection, as the
// kernel knows it: the one that called connect.
type Peer struct {
	// ID is zero when no process is known (TCP, or gone before it was seen);
	// ID.Start is zero when only the pid is.
	ID   ProcessID `json:"id,omitzero"`
	Cred Cred      `json:"cred"`
	Exe  Text      `json:"exe,omitempty"`
	Comm Text      `json:"comm,omitempty"`
	Argv Argv      `json:"argv"`
	// Entry and Container say where the client itself runs, when inside one.
	Entry     ProcessID   `json:"entry,omitzero"`
	Container ContainerID `json:"container,omitempty"`
	// Address is the remote address ("192.0.2.7:55012") on TCP; absent on
	// unix sockets. A peer with an address and without an ID is not of this
	// kernel, as far as is known, and has no Cred: see HasCred.
	Address string `json:"address,omitempty"`
	// Certificate is the one that the client showed on TLS.
	Certificate *Certificate `json:"certificate,omitempty"`
}

// Certificate is whom a client's certificate names, once its authority was
// verified.
type Certificate struct {
	CommonName    string   `json:"common_name,omitempty"`
	Organizations []string `json:"organizations,omitempty"`
	// Names are its subject alternative names: DNS names, e-mail addresses, IP
	// addresses, URIs.
	Names []string `json:"names,omitempty"`
}

// HasCred reports whether Cred says anything.
func (p Peer) HasCred() bool { return !p.Cred.NoUID && (p.Address == "" || !p.ID.IsZero()) }

// ClientConnect says that a process connected to a service socket.
type ClientConnect struct {
	Header
	Conn    ConnID  `json:"conn"`
	Service Service `json:"service"`
	Socket  string  `json:"socket,omitempty"` // as the client wrote it; on TCP the service's own address
	Peer    Peer    `json:"peer"`
	// Tapped says that requests on this connection are seen from its first
	// byte on; absence of a request on it then means something. A connection
	// on TCP is told of a second time, with the same Time, when its first bytes
	// show that they are no TLS: only then is it tapped.
	Tapped bool `json:"tapped,omitempty"`
	// Found says that the connection was there before the sensor.
	Found bool `json:"found,omitempty"`
}

// ClientClose says that a connection is gone: both ends closed, or its process
// and everybody who could have inherited it exited.
type ClientClose struct {
	Header
	Conn ConnID `json:"conn"`
}

// Segment is a sampled piece of a client's stream as the service received or
// sent it. It is what a kernel sensor hands to a protocol parser at the edge;
// it is not an observation and is never kept.
type Segment struct {
	Head    Header
	Conn    ConnID
	Service Service
	Peer    Peer
	// Sent is false for bytes the service received, true for bytes it sent.
	Sent bool
	// Offset counts the bytes in this direction before this piece. Whole says
	// that Offset is known to count from the connection's first byte.
	Offset uint64
	Whole  bool
	// Length is the piece's true length; Data holds its beginning.
	Length uint32
	Data   []byte
}
