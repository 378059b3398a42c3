package inventory

// Host is what was read of a machine: who may do what on it, its container
// engines, and the settings of its part in a cluster.
type Host struct {
	Name string `json:"name"`
	// Users and Groups are those of the machine's own files.
	Users  []Account   `json:"users,omitempty"`
	Groups []UnixGroup `json:"groups,omitempty"`
	// Sudo are the rules that let somebody run container tools, shells, or
	// everything.
	Sudo []SudoRule `json:"sudo,omitempty"`
	// Sockets are the runtime sockets of the host (Docker, containerd, CRI-O,
	// Podman, BuildKit), found by listening and by their usual paths.
	Sockets []Socket `json:"sockets,omitempty"`
	// Listeners are TCP sockets on which a container service really listens.
	Listeners []Listener    `json:"listeners,omitempty"`
	Docker    *Docker       `json:"docker,omitempty"`
	Kubelet   *Kubelet      `json:"kubelet,omitempty"`
	APIServer *APIServer    `json:"api_server,omitempty"`
	Files     []File        `json:"files,omitempty"` // kubeconfigs, keys, static pods
	Running   []DockerOrCRI `json:"running,omitempty"`
}

// Account is a user of a host.
type Account struct {
	Name  string `json:"name"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"` // primary group
	Login Answer `json:"login,omitzero"`
}

// UnixGroup is a group with all its members, those by primary group among them.
type UnixGroup struct {
	Name    string   `json:"name"`
	GID     uint32   `json:"gid"`
	Members []string `json:"members,omitempty"`
	Primary []string `json:"primary,omitempty"` // of Members, those whose primary group it is
	Origin  Origin   `json:"origin,omitzero"`
}

// SudoRule lets users or groups run commands as somebody.
type SudoRule struct {
	Users    []string `json:"users,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	As       []string `json:"as,omitempty"`
	Commands []string `json:"commands,omitempty"` // ALL, or paths with arguments
	NoPasswd bool     `json:"no_passwd,omitempty"`
	Origin   Origin   `json:"origin,omitzero"`
}

// Service is whose socket or port it is.
type Service string

// The services at whose door commands can be asked for.
const (
	ServiceDocker     Service = "docker"
	ServiceContainerd Service = "containerd"
	ServiceCRIO       Service = "cri-o"
	ServicePodman     Service = "podman"
	ServiceBuildKit   Service = "buildkit"
)

// Socket is a unix socket of a runtime.
type Socket struct {
	Service Service `json:"service"`
	Path    string  `json:"path"`
	Mode    uint32  `json:"mode"` // permission bits
	UID     uint32  `json:"uid"`
	GID     uint32  `json:"gid"`
	// ACL are further entries, as getfacl names them: "user:bob:rw-".
	ACL []string `json:"acl,omitempty"`
	// Reachable says that the directories above let everybody through; No, that
	// one of Above does not.
	Reachable Answer `json:"reachable,omitzero"`
	Device    uint64 `json:"device,omitempty"`
	Inode     uint64 `json:"inode,omitempty"`
	// Above are the directories that lead to it, the root first.
	Above []Directory `json:"above,omitempty"`
	// PID is the process that listens on it, 0 when that is not known; 1 when only
	// systemd holds it, for a service that it starts when somebody comes.
	PID int `json:"pid,omitempty"`
}

// Directory is a directory that somebody has to pass, and by which number it can
// be told under another name.
type Directory struct {
	Path   string   `json:"path"`
	Mode   uint32   `json:"mode"` // permission bits
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	ACL    []string `json:"acl,omitempty"`
	Device uint64   `json:"device,omitempty"`
	Inode  uint64   `json:"inode,omitempty"`
}

// Listener is a TCP socket on which a service listens.
type Listener struct {
	Service Service `json:"service"`
	Address string  `json:"address"` // host:port
	PID     int     `json:"pid,omitempty"`
	// TLS says that it speaks TLS; ClientCert that it insists on a client's
	// certificate. Both were tried out, not read in a file.
	TLS        Answer `json:"tls,omitzero"`
	ClientCert Answer `json:"client_cert,omitzero"`
}

// Docker is a daemon's settings, as they are in effect.
type Docker struct {
	Version string `json:"version,omitempty"`
	// Socket is where it was asked, PID its process, Containerd the socket of the
	// containerd that runs its containers; each absent when it is not known.
	Socket     string `json:"socket,omitempty"`
	PID        int    `json:"pid,omitempty"`
	Containerd string `json:"containerd,omitempty"`
	// Hosts are the listeners that were asked for, each with where it stands.
	Hosts []Setting `json:"hosts,omitempty"`
	// TLS and TLSVerify are what is set; what a listener really asks for is in
	// Listener.
	TLS          Answer         `json:"tls,omitzero"`
	TLSVerify    Answer         `json:"tls_verify,omitzero"`
	CA           string         `json:"ca,omitempty"`
	AuthzPlugins []string       `json:"authz_plugins,omitempty"`
	UserNS       Answer         `json:"user_ns,omitzero"`
	Rootless     Answer         `json:"rootless,omitzero"`
	NoNewPrivs   Answer         `json:"no_new_privileges,omitzero"`
	Seccomp      string         `json:"seccomp,omitempty"`
	AppArmor     Answer         `json:"apparmor,omitzero"`
	SELinux      Answer         `json:"selinux,omitzero"`
	LiveRestore  Answer         `json:"live_restore,omitzero"`
	Swarm        Answer         `json:"swarm,omitzero"`
	Disagree     []Disagreement `json:"disagree,omitempty"`
}

// Setting is a value with where it stands.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin Origin `json:"origin,omitzero"`
}

// Disagreement is a setting that two places give different values.
type Disagreement struct {
	Name   string    `json:"name"`
	Values []Setting `json:"values"`
}

// Kubelet is a kubelet's configuration, as it is in effect.
type Kubelet struct {
	Node           string `json:"node,omitempty"`
	Version        string `json:"version,omitempty"`
	Anonymous      Answer `json:"anonymous,omitzero"`
	Webhook        Answer `json:"webhook,omitzero"`        // token authentication by the API server
	Authorization  string `json:"authorization,omitempty"` // AlwaysAllow, Webhook
	ClientCA       string `json:"client_ca,omitempty"`
	ReadOnlyPort   *int   `json:"read_only_port,omitempty"`
	Port           int    `json:"port,omitempty"`
	Address        string `json:"address,omitempty"`
	Debugging      Answer `json:"debugging,omitzero"` // enableDebuggingHandlers: exec, run, attach
	RotateCerts    Answer `json:"rotate_certs,omitzero"`
	StaticPods     string `json:"static_pods,omitempty"`
	SeccompDefault Answer `json:"seccomp_default,omitzero"`
	// Set are the settings that somebody made, by their path in the kubelet's
	// configuration ("authentication.anonymous.enabled"), each with where the value
	// stands that counts. The others have their defaults.
	Set    []Setting `json:"set,omitempty"`
	Origin Origin    `json:"origin,omitzero"`
}

// APIServer is an API server's configuration, as far as it is known.
type APIServer struct {
	Anonymous Answer `json:"anonymous,omitzero"`
	// AnonymousPaths are the only paths that nobody needs a name for; empty means
	// all, where Anonymous is yes.
	AnonymousPaths []string `json:"anonymous_paths,omitempty"`
	TokenFile      Answer   `json:"token_file,omitzero"`     // passwords in a file
	Authorization  []string `json:"authorization,omitempty"` // modes, or those of the structured file
	Admission      []string `json:"admission,omitempty"`     // plugins that are on beside the defaults
	AdmissionOff   []string `json:"admission_off,omitempty"`
	AuditPolicy    *Audit   `json:"audit_policy,omitempty"`
	AuditTo        []string `json:"audit_to,omitempty"` // log path, webhook
	KubeletCA      Answer   `json:"kubelet_ca,omitzero"`
	Profiling      Answer   `json:"profiling,omitzero"`
	// PodSecurity is the level that namespaces without a label have; "" is unknown.
	PodSecurity string `json:"pod_security,omitempty"`
	// Set are the settings that somebody made, by the names of their flags.
	Set []Setting `json:"set,omitempty"`
	// Public says that its address can be reached from everywhere, Ranges from
	// where else; of managed clusters as their provider describes them.
	Public Answer `json:"public,omitzero"`
	// ConfigMapAuth says, of EKS, that the ConfigMap aws-auth is looked at.
	ConfigMapAuth Answer   `json:"config_map_auth,omitzero"`
	Ranges        []string `json:"ranges,omitempty"`
	Origin        Origin   `json:"origin,omitzero"`
}

// Audit is what an audit policy would record of commands.
type Audit struct {
	// Exec is at which level pods/exec is recorded, for everybody; "" is unknown.
	Exec string `json:"exec,omitempty"`
	// Silent lists about whom or what it would say nothing, in words.
	Silent []string `json:"silent,omitempty"`
	Origin Origin   `json:"origin,omitzero"`
}

// File is a file whose reader has somebody's power.
type File struct {
	What  string `json:"what"` // kubeconfig, key, static pods
	Path  string `json:"path"`
	Mode  uint32 `json:"mode"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Actor string `json:"actor,omitempty"` // whose power it is, where it shows
}

// DockerOrCRI is a container that an engine of the host runs.
type DockerOrCRI struct {
	ID     string  `json:"id"`
	Engine Service `json:"engine"`
	Container
	HostPID     bool       `json:"host_pid,omitempty"`
	HostIPC     bool       `json:"host_ipc,omitempty"`
	HostNetwork bool       `json:"host_network,omitempty"`
	HostUsers   Answer     `json:"host_users,omitzero"`
	Mounts      []HostPath `json:"mounts,omitempty"`
	// ProcWritable says that /proc/sys and the like are not mounted read-only in it.
	ProcWritable bool `json:"proc_writable,omitempty"`
}
