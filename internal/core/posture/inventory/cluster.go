package inventory

// Cluster is what was read of a Kubernetes cluster. Names are those of
// the API; of each object only what decides who can run a command is kept.
type Cluster struct {
	// Version is the API server's, "1.37"; Assumed says that nobody told and
	// that it was taken for this one.
	Version Version `json:"version"`
	Assumed bool    `json:"assumed,omitempty"`
	// Partial says that it was made of files, which need not hold all that the
	// cluster has: what is missing, such as the role of a binding, may be there.
	Partial bool `json:"partial,omitempty"`
	// Gates are feature gates whose state is known by settings or metrics;
	// others have their version's default.
	Gates map[string]bool `json:"gates,omitempty"`

	Namespaces      []Namespace      `json:"namespaces,omitempty"`
	ServiceAccounts []ServiceAccount `json:"service_accounts,omitempty"`
	Roles           []Role           `json:"roles,omitempty"`    // Roles and ClusterRoles
	Bindings        []Binding        `json:"bindings,omitempty"` // RoleBindings and ClusterRoleBindings
	Pods            []Pod            `json:"pods,omitempty"`
	Workloads       []Workload       `json:"workloads,omitempty"`
	Nodes           []Node           `json:"nodes,omitempty"`
	TokenSecrets    []TokenSecret    `json:"token_secrets,omitempty"`
	Webhooks        []Webhook        `json:"webhooks,omitempty"`
	Policies        []Policy         `json:"policies,omitempty"`
	// PodMakers are the kinds of other controllers that make pods, of those that are
	// known, which the cluster was seen to have: "RESOURCE.GROUP".
	PodMakers []string `json:"pod_makers,omitempty"`
	// AWSAuth says that there is a ConfigMap aws-auth in kube-system: on EKS it may say
	// who is an administrator.
	AWSAuth   Answer     `json:"aws_auth,omitzero"`
	APIServer *APIServer `json:"api_server,omitempty"` // nil when its settings were not read
}

// Version is a Kubernetes version, major and minor.
type Version struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
}

// AtLeast reports whether v is 1.minor or later.
func (v Version) AtLeast(minor int) bool { return v.Major > 1 || v.Major == 1 && v.Minor >= minor }

// Object is the name and place of a Kubernetes object.
type Object struct {
	Namespace string `json:"namespace,omitempty"` // absent for what belongs to the whole cluster
	Name      string `json:"name"`
	Origin    Origin `json:"origin,omitzero"`
}

// as says an object with its kind, of which there is one of the cluster and one of
// namespaces.
func (o *Object) as(kind string) string {
	if o.Namespace == "" {
		return "Cluster" + kind + " " + o.Name
	}
	return kind + " " + o.Namespace + "/" + o.Name
}

// Namespace is a namespace with its Pod Security labels.
type Namespace struct {
	Object
	// Enforce is the level that pod-security.kubernetes.io/enforce means to the API
	// server; absent means the server's default.
	Enforce string `json:"enforce,omitempty"`
}

// ServiceAccount is a service account.
type ServiceAccount struct {
	Object
	// Automount is automountServiceAccountToken; Unknown when it does not say,
	// which means yes.
	Automount Answer `json:"automount,omitzero"`
}

// Role is a Role (with a namespace) or a ClusterRole.
type Role struct {
	Object
	Rules []Rule `json:"rules,omitempty"`
	// Selectors are the labels of the ClusterRoles whose rules it takes over. They
	// are in Rules already, put there by the controller or, of manifests, by who
	// read them. Those that are more than labels are not kept.
	Selectors []map[string]string `json:"selectors,omitempty"`
	Labels    map[string]string   `json:"labels,omitempty"` // kept for ClusterRoles only
}

// String returns "ClusterRole NAME" or "Role NAMESPACE/NAME".
func (r *Role) String() string { return r.as("Role") }

// Rule is a rule of a role: a PolicyRule of rbac.authorization.k8s.io/v1.
type Rule struct {
	Verbs     []string `json:"verbs"`
	Groups    []string `json:"groups,omitempty"`
	Resources []string `json:"resources,omitempty"`
	Names     []string `json:"names,omitempty"`
	URLs      []string `json:"urls,omitempty"`
	Line      int      `json:"line,omitempty"`
	// From is the ClusterRole that an aggregated rule of manifests comes from, in
	// whose file Line is.
	From string `json:"from,omitempty"`
}

// Binding is a RoleBinding (with a namespace) or a ClusterRoleBinding.
type Binding struct {
	Object
	// ToClusterRole says that it refers to a ClusterRole.
	ToClusterRole bool      `json:"to_cluster_role,omitempty"`
	Role          string    `json:"role"`
	Subjects      []Subject `json:"subjects,omitempty"`
	// Default says that every new cluster has it, for the same subjects and with a
	// role that is as it was made.
	Default bool `json:"default,omitempty"`
}

// String returns "ClusterRoleBinding NAME" or "RoleBinding NAMESPACE/NAME".
func (b *Binding) String() string { return b.as("RoleBinding") }

// SubjectKind is what kind of subject a binding names.
type SubjectKind string

// The kinds of subjects.
const (
	User                  SubjectKind = "User"
	Group                 SubjectKind = "Group"
	ServiceAccountSubject SubjectKind = "ServiceAccount"
)

// Subject is who a binding is for.
type Subject struct {
	Kind      SubjectKind `json:"kind"`
	Namespace string      `json:"namespace,omitempty"`
	Name      string      `json:"name"`
	Line      int         `json:"line,omitempty"`
}

// Pod is a pod that runs or, in manifests, would run.
type Pod struct {
	Object
	UID  string `json:"uid,omitempty"`
	Node string `json:"node,omitempty"`
	// Workload is its controller, "Kind/name", followed up to the outermost.
	Workload string `json:"workload,omitempty"`
	// Planned says that no such pod was seen: it stands for those that the
	// workload of a manifest would make, and has the workload's name.
	Planned bool `json:"planned,omitempty"`
	Template
}

// Workload is an object that makes pods.
type Workload struct {
	Object
	Kind string `json:"kind"`
	// Group is its API group.
	Group string `json:"group,omitempty"`
	// Owner is its own controller, "Kind/name", as a ReplicaSet has a Deployment.
	Owner string `json:"owner,omitempty"`
	Template
}

// Template is what decides what somebody gets who runs a command in a pod.
type Template struct {
	ServiceAccount string      `json:"service_account,omitempty"`
	Token          Answer      `json:"token,omitzero"` // its token is mounted
	HostPID        bool        `json:"host_pid,omitempty"`
	HostIPC        bool        `json:"host_ipc,omitempty"`
	HostNetwork    bool        `json:"host_network,omitempty"`
	SharedPID      bool        `json:"shared_pid,omitempty"` // shareProcessNamespace
	HostUsers      Answer      `json:"host_users,omitzero"`  // No: a user namespace of its own
	HostPaths      []HostPath  `json:"host_paths,omitempty"`
	Containers     []Container `json:"containers"`
	// Security says what of the Pod Security Standards a pod is against; nil when nobody
	// held it against them, as for templates.
	Security *PodSecurity `json:"security,omitempty"`
}

// PodSecurity is what of the Pod Security Standards a pod is against, as Kubernetes' own
// admission finds it.
type PodSecurity struct {
	Version Version `json:"version"` // of the standards
	// Baseline are the controls of that level, in the words of Kubernetes' admission,
	// with what it is against them: "host namespaces (hostPID=true)".
	Baseline []string `json:"baseline,omitempty"`
	// Restricted are those of that level besides, by their names alone.
	Restricted []string `json:"restricted,omitempty"`
}

// HostPath is a path of the node that a container sees.
type HostPath struct {
	Container string `json:"container"`
	Path      string `json:"path"`  // on the node
	Mount     string `json:"mount"` // in the container
	ReadOnly  bool   `json:"read_only,omitempty"`
	// Device and Inode are the file's, where somebody could look: by them a
	// directory is known under another name.
	Device uint64 `json:"device,omitempty"`
	Inode  uint64 `json:"inode,omitempty"`
}

// Container is a container of a pod or of an engine, by what its processes may do.
type Container struct {
	Name  string `json:"name"`
	Image string `json:"image,omitempty"` // as it was asked for
	// ImageID is the digest of the image that runs, as the engine or the pod's status
	// has it: of its configuration, its manifest or its index.
	ImageID string `json:"image_id,omitempty"`
	// Role in the pod: "" for an ordinary one, init, sidecar, ephemeral.
	Role            string   `json:"role,omitempty"`
	Privileged      bool     `json:"privileged,omitempty"`
	Escalation      Answer   `json:"escalation,omitzero"` // allowPrivilegeEscalation
	ReadOnlyRoot    bool     `json:"read_only_root,omitempty"`
	User            *int64   `json:"user,omitempty"` // nil: the image's
	NonRoot         Answer   `json:"non_root,omitzero"`
	AddCapabilities []string `json:"add_capabilities,omitempty"`
	DropAll         bool     `json:"drop_all,omitempty"`
	// DropCapabilities are those that it goes without, where they are not all.
	DropCapabilities []string `json:"drop_capabilities,omitempty"`
	Seccomp          string   `json:"seccomp,omitempty"`
	AppArmor         string   `json:"apparmor,omitempty"`
	SELinux          string   `json:"selinux,omitempty"`
	Devices          []string `json:"devices,omitempty"`
	Inside           *Inside  `json:"inside,omitempty"` // nil when its image was not looked into
}

// RunsAs is the user that the container's processes are, by its number: that of the
// container, or else of its image; nil when nobody could tell.
func (c *Container) RunsAs() *int64 {
	if c.User == nil && c.Inside != nil {
		return c.Inside.UID
	}
	return c.User
}

// Inside is what an image holds that a command would be of use with: paths of files
// that can be executed, told by their names, each list sorted and bounded.
type Inside struct {
	// Image is the digest of the configuration of the image that was looked into.
	Image string `json:"image"`
	// By says how it is known to be the container's.
	By           Match    `json:"by"`
	Shells       []string `json:"shells,omitempty"`
	Packages     []string `json:"packages,omitempty"` // package managers
	Interpreters []string `json:"interpreters,omitempty"`
	Downloaders  []string `json:"downloaders,omitempty"` // and other clients of a network
	Compilers    []string `json:"compilers,omitempty"`
	Clients      []string `json:"clients,omitempty"` // of container engines and clusters
	SetUID       []string `json:"setuid,omitempty"`  // setuid or setgid, whatever their names
	Capable      []string `json:"capable,omitempty"` // with capabilities of their own, whatever their names
	User         string   `json:"user,omitempty"`    // as configured
	UID          *int64   `json:"uid,omitempty"`     // User's; nil when the image does not tell
}

// Match says how an image was matched with a container.
type Match string

// How images are matched.
const (
	ByDigest Match = "digest"
	ByName   Match = "name" // another image may have had the name when the container was made
)

// Node is a node of the cluster.
type Node struct {
	Object
	// Kubelet is nil when its settings were not read.
	Kubelet *Kubelet `json:"kubelet,omitempty"`
}

// TokenSecret is a secret that holds a service account's token. Of it only this
// is read.
type TokenSecret struct {
	Object
	ServiceAccount string `json:"service_account"`
}

// Webhook is an admission webhook that may change or refuse objects. Its Object is
// the configuration that it stands in.
type Webhook struct {
	Object
	Hook     string `json:"hook"` // its own name
	Mutating bool   `json:"mutating,omitempty"`
	Failure  string `json:"failure,omitempty"` // Fail or Ignore
	// Resources are those of its rules, "group/resource".
	Resources []string `json:"resources,omitempty"`
}

// Policy is a ValidatingAdmissionPolicy or a MutatingAdmissionPolicy with what
// binds it.
type Policy struct {
	Object
	Mutating    bool     `json:"mutating,omitempty"`
	Bound       bool     `json:"bound,omitempty"` // without a binding it does nothing
	Resources   []string `json:"resources,omitempty"`
	Actions     []string `json:"actions,omitempty"` // of its bindings: Deny, Warn, Audit
	Expressions []string `json:"expressions,omitempty"`
}
