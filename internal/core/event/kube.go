package event

import (
	"slices"
	"strings"
	"time"
)

// KubeRequest is a request to the API server at one stage, as its audit log
// tells it. Time is the stage's. The log knows who asked for what, and never
// which process ran (channels.md §1, facts 1 to 3).
type KubeRequest struct {
	Header
	// ID is the audit id. Clients may choose it (header Audit-ID), also one
	// that was used before: together with User, URI and Received it groups the
	// stages of one request, alone it proves nothing.
	ID    AuditID   `json:"id"`
	Stage KubeStage `json:"stage"`
	// Received is when the API server got the request, by its own clock; the
	// same in every stage.
	Received time.Time `json:"received"`
	Op       KubeOp    `json:"op"`
	Verb     string    `json:"verb"`
	// URI is the request's URI as sent.
	URI string `json:"uri,omitempty"`
	// User is who authenticated; Impersonated is who that user acted as. The
	// latter is absent in the stage "received".
	User         KubeUser  `json:"user"`
	Impersonated *KubeUser `json:"impersonated,omitempty"`
	UserAgent    string    `json:"user_agent,omitempty"`
	// Address is where the request came from: the last of Sources, the only
	// one that the client cannot make up (channels.md §4.2).
	Address string   `json:"address,omitempty"`
	Sources []string `json:"sources,omitempty"`
	// Code is the HTTP status, 0 while there is none. 101 says that a stream
	// was opened, not that anything ran.
	Code int `json:"code,omitempty"`
	// Refused says that authorization or admission refused it (403, 422 or an
	// annotation of a denying webhook).
	Refused bool `json:"refused,omitempty"`

	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	// Container is what the request names; absent when it leaves the choice to
	// the server.
	Container string `json:"container,omitempty"`
	// TargetNode is the node of nodes/proxy.
	TargetNode string `json:"target_node,omitempty"`
	// Argv is the command list, as the server decodes it from the URI.
	Argv  []string `json:"argv,omitempty"`
	TTY   bool     `json:"tty,omitempty"`
	Stdin bool     `json:"stdin,omitempty"`
	// NoQuery says that the log does not have the URI's query: Container, Argv,
	// TTY and Stdin are then not known, and not empty. Joined says that Argv is
	// known all the same, as one string with its quoting lost.
	NoQuery bool `json:"no_query,omitempty"`
	Joined  bool `json:"joined,omitempty"`
	// Path is what follows "/proxy" of pods/proxy, services/proxy and
	// nodes/proxy, without the query.
	Path string `json:"path,omitempty"`
	// Ports are those of a port-forward, where the URI has them.
	Ports []string `json:"ports,omitempty"`
	// Nonce is what Sallyport's admission webhook put into the annotations.
	Nonce string `json:"nonce,omitempty"`
	// Object is what the request created or changed, when the audit level
	// includes it and it carries commands.
	Object *KubeObject `json:"object,omitempty"`
	// Review is what an access review asked (Op KubeAccessReview).
	Review *AccessReview `json:"review,omitempty"`
}

// AuditID is the API server's id of a request; see KubeRequest.ID.
type AuditID string

// KubeStage is a stage of a request in the audit log.
type KubeStage string

// The stages of a request.
const (
	KubeReceived KubeStage = "received" // RequestReceived
	KubeStarted  KubeStage = "started"  // ResponseStarted: a stream was opened
	KubeComplete KubeStage = "complete" // ResponseComplete
	KubePanic    KubeStage = "panic"
)

// KubeOp is what a request to the API server asks for.
type KubeOp string

// The operations that concern commands (channels.md §3.2).
const (
	KubeExec         KubeOp = "exec"
	KubeAttach       KubeOp = "attach"
	KubePortForward  KubeOp = "port_forward"
	KubeEphemeral    KubeOp = "ephemeral" // pods/ephemeralcontainers
	KubeNodeExec     KubeOp = "node_exec" // nodes/proxy …/exec, and so on
	KubeNodeRun      KubeOp = "node_run"
	KubeNodeAttach   KubeOp = "node_attach"
	KubeNodeForward  KubeOp = "node_port_forward"
	KubeNodeProxy    KubeOp = "node_proxy" // nodes/proxy to anything else
	KubePodProxy     KubeOp = "pod_proxy"
	KubeServiceProxy KubeOp = "service_proxy"
	KubePodChange    KubeOp = "pod"      // create, update or patch of a pod
	KubeWorkload     KubeOp = "workload" // the same of what makes pods
	KubeAccessReview KubeOp = "access_review"
	// KubeDoor is a change of who may pass the API server's doors: webhooks,
	// admission policies, roles and their bindings.
	KubeDoor  KubeOp = "door"
	KubeOther KubeOp = "other" // kept for who made it: a node's identity, a token away from its pod
)

// KubeUser is an identity as the API server authenticated it.
type KubeUser struct {
	Name   string              `json:"name"`
	UID    string              `json:"uid,omitempty"`
	Groups []string            `json:"groups,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
}

// kubelets are the programs that contain a kubelet, as they stand first in its
// user agent: client-go takes the base name of argv[0].
var kubelets = []string{"kubelet", "kubelite", "k3s", "hyperkube"}

// SaysKubelet reports whether a user agent, of which its first part is enough, is
// one of a kubelet: on Windows "kubelet.exe/v1.30.0 (windows/amd64) …". Anybody
// can say so of himself; it only keeps the ordinary out.
func SaysKubelet(agent string) bool {
	name, _, ok := strings.Cut(agent, "/")
	return ok && slices.Contains(kubelets, strings.TrimSuffix(name, ".exe"))
}

// KubeObject is what of an object carries commands.
type KubeObject struct {
	Kind      string `json:"kind"` // "Pod", "Deployment", …
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
	// Containers are those of the pod or of the pod template; of a patch, those
	// that it mentions.
	Containers []KubeContainer `json:"containers,omitempty"`
	// NodeName is the pod's node, when it names one.
	NodeName string `json:"node_name,omitempty"`
	// HostAccess is what the pod as a whole takes of its host, also when no
	// container of it is mentioned.
	HostAccess *HostAccess `json:"host_access,omitempty"`
	// Mirror says that a kubelet made the pod of a file (static pod).
	Mirror bool `json:"mirror,omitempty"`
	// Debug says that kubectl debug made it, by a label that anybody can set.
	Debug bool `json:"debug,omitempty"`
}

// Container returns the container of that name; nil when o is nil or does not
// mention it.
func (o *KubeObject) Container(name string) *KubeContainer {
	if o == nil {
		return nil
	}
	return containerIn(o.Containers, name)
}

func containerIn(list []KubeContainer, name string) *KubeContainer {
	i := slices.IndexFunc(list, func(k KubeContainer) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// KubeContainer is a container as its pod's specification has it.
type KubeContainer struct {
	Name string            `json:"name"`
	Kind KubeContainerKind `json:"kind"`
	// ID is the runtime's id, once it runs.
	ID    ContainerID `json:"id,omitempty"`
	Image string      `json:"image,omitempty"`
	// Command replaces the image's entrypoint, Args its arguments.
	Command []string   `json:"command,omitempty"`
	Args    []string   `json:"args,omitempty"`
	Hooks   []KubeHook `json:"hooks,omitempty"`
	// Variables are those of its environment that are commands by another name;
	// see AppendVariable.
	Variables []Variable `json:"variables,omitempty"`
	// Target is whose namespaces an ephemeral container joins.
	Target string `json:"target,omitempty"`
	TTY    bool   `json:"tty,omitempty"`
	Stdin  bool   `json:"stdin,omitempty"`
	// HostAccess is what the container is given, the pod's part of it included.
	HostAccess *HostAccess `json:"host_access,omitempty"`
}

// KubeContainerKind says what a container is to its pod.
type KubeContainerKind string

// The kinds of container.
const (
	KubeApp              KubeContainerKind = "app"
	KubeInit             KubeContainerKind = "init"
	KubeSidecar          KubeContainerKind = "sidecar" // init container with restartPolicy Always
	KubeEphemeralDebug   KubeContainerKind = "ephemeral"
	KubeSandboxContainer KubeContainerKind = "sandbox" // the pod's pause container
)

// KubeHook is a command that the kubelet runs in a container by itself.
type KubeHook struct {
	Kind KubeHookKind `json:"kind"`
	Argv []string     `json:"argv"`
	// Period is how often a probe runs; 0 for lifecycle hooks.
	Period Duration `json:"period,omitempty"`
	// Timeout is the probe's; 0 for lifecycle hooks.
	Timeout Duration `json:"timeout,omitempty"`
	// InitialDelay is how long after the container's start a probe waits.
	InitialDelay Duration `json:"initial_delay,omitempty"`
}

// KubeHookKind is when the kubelet runs a KubeHook.
type KubeHookKind string

// The occasions on which the kubelet runs commands.
const (
	KubeLiveness  KubeHookKind = "liveness"
	KubeReadiness KubeHookKind = "readiness"
	KubeStartup   KubeHookKind = "startup"
	KubePostStart KubeHookKind = "post_start"
	KubePreStop   KubeHookKind = "pre_stop"
)

// AccessReview is a question to the API server whether somebody may do
// something. A node's kubelet asks it about whoever talks to the kubelet
// directly: often the only central trace of that (channels.md §1, fact 5).
type AccessReview struct {
	User        KubeUser `json:"user"`
	Verb        string   `json:"verb"`
	Resource    string   `json:"resource,omitempty"` // with "/subresource"
	Name        string   `json:"name,omitempty"`
	Namespace   string   `json:"namespace,omitempty"`
	Path        string   `json:"path,omitempty"` // of a non-resource review
	Allowed     bool     `json:"allowed,omitempty"`
	AllowedSaid bool     `json:"allowed_said,omitempty"` // the answer was recorded
}

// KubeAdmission is a request that Sallyport's admission webhook saw before it
// was carried out. Time is when the webhook let it go.
type KubeAdmission struct {
	Header
	// Nonce was put into the request's audit annotations.
	Nonce string `json:"nonce"`
	UID   string `json:"uid"` // of the AdmissionReview
	// Arrived is when the webhook got it; Time minus Arrived is how long it was
	// held so that it could be told apart from an identical one.
	Arrived time.Time `json:"arrived"`
	// Alone says that no other request that could start the same command in
	// the same container was under way when this one was let go.
	Alone bool   `json:"alone,omitempty"`
	Op    KubeOp `json:"op"`
	// User is the effective identity: an impersonated one hides who
	// impersonates (channels.md §4.2).
	User       KubeUser    `json:"user"`
	Namespace  string      `json:"namespace,omitempty"`
	Pod        string      `json:"pod,omitempty"`
	Container  string      `json:"container,omitempty"`
	TargetNode string      `json:"target_node,omitempty"`
	Argv       []string    `json:"argv,omitempty"`
	TTY        bool        `json:"tty,omitempty"`
	Stdin      bool        `json:"stdin,omitempty"`
	Path       string      `json:"path,omitempty"`
	Object     *KubeObject `json:"object,omitempty"`
	DryRun     bool        `json:"dry_run,omitempty"`
	// Authenticated says that whoever asked the webhook showed a certificate of
	// the API server's. Without it anybody can claim that anybody asks.
	Authenticated bool `json:"authenticated,omitempty"`
}

// KubePod is a pod as the API server or a node's runtime has it at Time.
type KubePod struct {
	Header
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// NodeName is where it runs.
	NodeName       string   `json:"node_name,omitempty"`
	Addresses      []string `json:"addresses,omitempty"`
	ServiceAccount string   `json:"service_account,omitempty"`
	// Owner is "Kind/name" of the controller that made it.
	Owner      string          `json:"owner,omitempty"`
	Static     bool            `json:"static,omitempty"` // made of a file on the node
	Containers []KubeContainer `json:"containers,omitempty"`
	Started    time.Time       `json:"started,omitzero"`
	// Deleted says that it is gone.
	Deleted bool `json:"deleted,omitempty"`
}

// Progress says that a witness whose reports come late has by now reported
// everything that happened before Through. Absence before that is evidence. The
// kernel sensor's come ten times a second while it runs; those are kept that
// matter to what happened then.
type Progress struct {
	Header
	Through time.Time `json:"through"`
}

// Clock is a measurement: what another machine's clock showed, minus what
// ours showed at the same moment.
type Clock struct {
	Header
	// Of names whose clock it is: a node, or "apiserver".
	Of     string   `json:"of"`
	Offset Duration `json:"offset"`
	// Error is the most by which Offset can be wrong.
	Error Duration `json:"error"`
}
