package exposure

// does says what each kind of step is, in a person's words.
var does = map[Edge]string{
	EdgeExec: "exec", EdgeAttach: "attach", EdgeEphemeral: "ephemeral container", EdgeNodeProxy: "nodes/proxy", EdgeKubelet: "kubelet",
	EdgeCreate: "new pod", EdgeChange: "changed command", EdgeImpersonate: "impersonate", EdgeMint: "token made", EdgeSecret: "token read",
	EdgeGrant: "role given to oneself", EdgeCertificate: "client certificate", EdgeRewrite: "pods rewritten", EdgeControl: "control plane changed", EdgeBeyond: "no role asked",
	EdgeNode: "root on the node", EdgeEscape: "break out", EdgeSibling: "container beside it", EdgeSocket: "runtime socket",
	EdgeMounted: "runtime socket in the container", EdgeTCP: "engine's port", edgeToken: "token in the pod",
}

// Does says what a kind of step is, in a person's words.
func (e Edge) Does() string { return does[e] }
