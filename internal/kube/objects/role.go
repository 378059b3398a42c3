package objects

// Role is a ClusterRole in YAML with all that ReadServer asks for, and nothing
// else: no secrets, and nothing by which a command could be run.
const Role = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: sallyport-scan
rules:
- apiGroups: [""]
  resources: [namespaces, serviceaccounts, pods, nodes, replicationcontrollers]
  verbs: [list]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [aws-auth] # whether there is one: on EKS it names administrators
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments, replicasets, statefulsets, daemonsets]
  verbs: [list]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [list]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, clusterroles, rolebindings, clusterrolebindings]
  verbs: [list]
- apiGroups: [admissionregistration.k8s.io]
  resources:
  - validatingwebhookconfigurations
  - mutatingwebhookconfigurations
  - validatingadmissionpolicies
  - validatingadmissionpolicybindings
  - mutatingadmissionpolicies
  - mutatingadmissionpolicybindings
  verbs: [list]
- nonResourceURLs: [/apis, /metrics, /version] # which kinds there are, and which feature gates are on
  verbs: [get]
`
