package controlplane

import (
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/posture"
)

var byCommand = []attack.Technique{attack.T1609}

// The rules of kubelets. Numbers of CIS are those of the Kubernetes Benchmark 1.12.
var (
	kubeletAnonymous = posture.Rule{
		ID: "SP-KLT-001", Severity: finding.Medium, Title: "The kubelet takes requests without a name",
		Attack: byCommand, CIS: []string{"kubernetes 4.2.1"},
		Remedy: "Set authentication.anonymous.enabled: false in the kubelet's configuration (or --anonymous-auth=false), and restart the kubelet.",
	}
	kubeletAllowsAll = posture.Rule{
		ID: "SP-KLT-002", Severity: finding.High, Title: "The kubelet allows everything",
		Attack: byCommand, CIS: []string{"kubernetes 4.2.2"},
		Remedy: "Set authorization.mode: Webhook and authentication.webhook.enabled: true in the kubelet's configuration, and restart the kubelet.",
	}
	kubeletNoCA = posture.Rule{
		ID: "SP-KLT-003", Severity: finding.Medium, Title: "The kubelet cannot tell who calls",
		CIS:    []string{"kubernetes 4.2.3"},
		Remedy: "Set authentication.x509.clientCAFile to the cluster's CA, so that the API server is known by its certificate, and restart the kubelet.",
	}
	kubeletReadOnly = posture.Rule{
		ID: "SP-KLT-004", Severity: finding.Medium, Title: "The kubelet's read-only port is open",
		Attack: []attack.Technique{"T1613"}, CIS: []string{"kubernetes 4.2.4"},
		Remedy: "Set readOnlyPort: 0 in the kubelet's configuration (or --read-only-port=0), and restart the kubelet.",
	}
	kubeletRotate = posture.Rule{
		ID: "SP-KLT-005", Severity: finding.Low, Title: "The kubelet's client certificate is not renewed",
		CIS:    []string{"kubernetes 4.2.10"},
		Remedy: "Set rotateCertificates: true in the kubelet's configuration, and restart the kubelet.",
	}
	kubeletSeccomp = posture.Rule{
		ID: "SP-KLT-006", Severity: finding.Low, Title: "Containers run without a seccomp profile by default",
		Attack: []attack.Technique{"T1611"}, CIS: []string{"kubernetes 4.2.14"},
		Remedy: "Set seccompDefault: true in the kubelet's configuration, and restart the kubelet.",
	}
)

// The rules of API servers.
var (
	serverAnonymous = posture.Rule{
		ID: "SP-K8S-901", Severity: finding.Low, Title: "The API server takes requests without a name",
		CIS:    []string{"kubernetes 1.2.1"},
		Remedy: "Limit them to the health checks by anonymous.conditions in the file of --authentication-config, or set --anonymous-auth=false.",
	}
	serverTokenFile = posture.Rule{
		ID: "SP-K8S-902", Severity: finding.High, Title: "The API server takes tokens from a file",
		Attack: []attack.Technique{"T1552.001"}, CIS: []string{"kubernetes 1.2.2"},
		Remedy: "Remove --token-auth-file: its tokens never expire and stand in clear. Use OIDC, client certificates or service accounts.",
	}
	serverKubeletCA = posture.Rule{
		ID: "SP-K8S-903", Severity: finding.Medium, Title: "The API server does not check kubelets' certificates",
		CIS:    []string{"kubernetes 1.2.5"},
		Remedy: "Set --kubelet-certificate-authority to the CA of the kubelets' serving certificates: commands and their output go over this connection.",
	}
	serverAllowsAll = posture.Rule{
		ID: "SP-K8S-904", Severity: finding.Critical, Title: "The API server allows everything",
		Attack: byCommand, CIS: []string{"kubernetes 1.2.6"},
		Remedy: "Set --authorization-mode=Node,RBAC, or remove AlwaysAllow from the file of --authorization-config.",
	}
	serverNoRBAC = posture.Rule{
		ID: "SP-K8S-905", Severity: finding.Medium, Title: "The API server does not authorise by RBAC",
		CIS:    []string{"kubernetes 1.2.8"},
		Remedy: "Add RBAC to --authorization-mode. What other authorisers allow is not known to a scan.",
	}
	serverNoNode = posture.Rule{
		ID: "SP-K8S-906", Severity: finding.Medium, Title: "Nodes are not held to their own pods",
		Attack: []attack.Technique{"T1528"}, CIS: []string{"kubernetes 1.2.7"},
		Remedy: "Add Node to --authorization-mode.",
	}
	serverNoRestriction = posture.Rule{
		ID: "SP-K8S-907", Severity: finding.Medium, Title: "Kubelets may change other nodes and pods",
		CIS:    []string{"kubernetes 1.2.14"},
		Remedy: "Add NodeRestriction to --enable-admission-plugins.",
	}
	serverAdmitsAll = posture.Rule{
		ID: "SP-K8S-908", Severity: finding.Medium, Title: "The admission plugin AlwaysAdmit is on",
		CIS:    []string{"kubernetes 1.2.10"},
		Remedy: "Remove AlwaysAdmit from --enable-admission-plugins.",
	}
	serverNoPodSecurity = posture.Rule{
		ID: "SP-K8S-909", Severity: finding.High, Title: "Pod Security is turned off",
		Attack: []attack.Technique{"T1611"}, CIS: []string{"kubernetes 5.2.1"},
		Remedy: "Remove PodSecurity from --disable-admission-plugins: the labels of namespaces do nothing without it.",
	}
	serverProfiling = posture.Rule{
		ID: "SP-K8S-910", Severity: finding.Low, Title: "The API server serves profiles of itself",
		CIS:    []string{"kubernetes 1.2.15"},
		Remedy: "Set --profiling=false.",
	}
	serverExecUnrecorded = posture.Rule{
		ID: "SP-K8S-911", Severity: finding.High, Title: "Commands are not recorded in the audit log",
		Attack: byCommand, CIS: []string{"kubernetes 1.2.16", "kubernetes 3.2.1", "kubernetes 3.2.2"},
		Remedy: "Put the rules that `sallyport kube audit-policy` prints before those of --audit-policy-file, and set --audit-log-path.",
	}
	serverAuditSilent = posture.Rule{
		ID: "SP-K8S-912", Severity: finding.Medium, Title: "The audit log says nothing of some commands",
		Attack: byCommand, CIS: []string{"kubernetes 3.2.2"},
		Remedy: "Put the rules that `sallyport kube audit-policy` prints before those of --audit-policy-file.",
	}
	serverPublic = posture.Rule{
		ID: "SP-K8S-913", Severity: finding.Medium, Title: "The API server can be reached from everywhere",
		Remedy: "Make the endpoint private, or limit it to the ranges from which it is used (EKS publicAccessCidrs, GKE authorised networks, AKS authorised IP ranges).",
	}
)

// The rules of files.
var (
	fileReadable = posture.Rule{
		ID: "SP-K8S-920", Severity: finding.High, Title: "A file with credentials can be read by others",
		Attack: []attack.Technique{"T1552.001"}, CIS: []string{"kubernetes 1.1.13", "kubernetes 1.1.21", "kubernetes 4.1.5"},
		Remedy: "chmod 600 the file",
	}
	fileWritable = posture.Rule{
		ID: "SP-K8S-921", Severity: finding.High, Title: "What decides over the node can be written by others",
		Attack: []attack.Technique{"T1610"}, CIS: []string{"kubernetes 1.1.1", "kubernetes 4.1.9"},
		Remedy: "chmod go-w the file",
	}
	fileOwner = posture.Rule{
		ID: "SP-K8S-922", Severity: finding.Medium, Title: "A file of the control plane does not belong to root",
		CIS:    []string{"kubernetes 1.1.14", "kubernetes 1.1.19", "kubernetes 4.1.6", "kubernetes 4.1.10"},
		Remedy: "chown root:root the file",
	}
)

// Rules lists all rules, in order of their ids.
func Rules() (out []posture.Rule) {
	for _, r := range []*posture.Rule{
		&serverAnonymous, &serverTokenFile, &serverKubeletCA, &serverAllowsAll, &serverNoRBAC, &serverNoNode, &serverNoRestriction, &serverAdmitsAll,
		&serverNoPodSecurity, &serverProfiling, &serverExecUnrecorded, &serverAuditSilent, &serverPublic, &fileReadable, &fileWritable, &fileOwner,
		&kubeletAnonymous, &kubeletAllowsAll, &kubeletNoCA, &kubeletReadOnly, &kubeletRotate, &kubeletSeccomp,
	} {
		out = append(out, *r)
	}
	return out
}
