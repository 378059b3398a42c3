package event

import "time"

// WitnessState says how much a witness sees from Time on.
type WitnessState struct {
	Header
	Up bool `json:"up"`
	// From is the moment from which on the witness has seen everything: after
	// a reconnect that resumed without loss it lies before Time. Between the
	// last down and From there is a gap.
	From time.Time `json:"from,omitzero"`
	// Level is the kernel sensor's level, "L0" to "L3"; absent for others.
	Level string `json:"level,omitempty"`
	// Peers and Requests say what the kernel sensor sees of service clients
	// from now on: who connects, and what they ask.
	Peers    bool `json:"peers,omitempty"`
	Requests bool `json:"requests,omitempty"`
	// Ports lists the services whose clients on TCP the kernel sensor sees from
	// now on.
	Ports []Service `json:"ports,omitempty"`
	// Kubelets are the processes that serve a kubelet's ports, as far as the kernel
	// sensor knows: what else is called a kubelet is none.
	Kubelets []uint32 `json:"kubelets,omitempty"`
	// Guards are the guards' own processes, which pass on what others ask for: of
	// WitnessGuard, while it is up.
	Guards []ProcessID `json:"guards,omitempty"`
	// OpenDoors lists ways into the service that this witness cannot see, for
	// example "tcp 127.0.0.1:2376": candidates can then not be complete.
	OpenDoors []string `json:"open_doors,omitempty"`
	// TCPDoors lists, in the words of OpenDoors, the doors on TCP whose clients
	// the kernel sensor sees from now on.
	TCPDoors []string `json:"tcp_doors,omitempty"`
	// DaemonPID is the host pid of the service that a service witness watches;
	// 0 when it could not be told.
	DaemonPID uint32 `json:"daemon_pid,omitempty"`
	// Reason says why it is down or limited, for a person.
	Reason string `json:"reason,omitempty"`
	// Partial says that this is a selection (a log that rules, filters or an
	// export made): what it does not tell may have happened all the same.
	Partial bool `json:"partial,omitempty"`
	// NoExits says that it need not tell how processes end: one that did not end
	// may have.
	NoExits bool `json:"no_exits,omitempty"`
	// Lacks lists what its observations never say, in words for a person, for
	// example "container ids".
	Lacks []string `json:"lacks,omitempty"`
	// Precision is the smallest step of its times; absent when it is finer than
	// a millisecond.
	Precision Duration `json:"precision,omitempty"`
}

// Loss says that a witness lost records between From and Time.
type Loss struct {
	Header
	From  time.Time `json:"from"`
	Count uint64    `json:"count"` // 0: unknown
	CPU   *int      `json:"cpu,omitempty"`
	// What names the stream that lost: "process", "requests", "events".
	What string `json:"what"`
}

// Tick carries time itself: everything that any witness saw up to Time minus
// the delivery delay has been delivered.
type Tick struct {
	Header
}

// Host describes the machine that the observations come from.
type Host struct {
	Header
	Hostname string `json:"hostname,omitempty"`
	BootID   BootID `json:"boot_id,omitempty"`
	Kernel   string `json:"kernel,omitempty"`
	// Users names the uids of the host, so that replay elsewhere shows the
	// names that were true here. Each may be repeated; the last one holds.
	Users map[uint32]string `json:"users,omitempty"`
}

func (SessionEntry) observation()     {}
func (ProcessExec) observation()      {}
func (ProcessFork) observation()      {}
func (ProcessExit) observation()      {}
func (ClientConnect) observation()    {}
func (ClientClose) observation()      {}
func (DockerEvent) observation()      {}
func (DockerContainer) observation()  {}
func (DockerExec) observation()       {}
func (DockerRequest) observation()    {}
func (DockerAnswer) observation()     {}
func (Decision) observation()         {}
func (GateSighting) observation()     {}
func (RuntimeEvent) observation()     {}
func (RuntimeTask) observation()      {}
func (RuntimeRequest) observation()   {}
func (RuntimeContainer) observation() {}
func (KubeRequest) observation()      {}
func (KubeAdmission) observation()    {}
func (KubePod) observation()          {}
func (Progress) observation()         {}
func (Clock) observation()            {}
func (WitnessState) observation()     {}
func (Loss) observation()             {}
func (Tick) observation()             {}
func (Host) observation()             {}
