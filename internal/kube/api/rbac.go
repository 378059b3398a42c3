package api

// MetricsPath is where an API server tells what it counts.
const MetricsPath = "/metrics"

// RBAC is a ClusterRole in YAML with all that Sallyport asks of the API server,
// bound to the service account "sallyport" of the namespace "sallyport".
const RBAC = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: sallyport-watch
rules:
- apiGroups: [""]
  resources: [pods, nodes]
  verbs: [get, list, watch]
- apiGroups: [admissionregistration.k8s.io] # doctor looks whether the webhook is there
  resources: [validatingwebhookconfigurations]
  verbs: [get]
- nonResourceURLs: [` + MetricsPath + `] # how many audit events the API server has dropped
  verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: sallyport-watch
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sallyport-watch}
subjects: # whoever --kubeconfig names; this account and its namespace are not made here
- {kind: ServiceAccount, namespace: sallyport, name: sallyport}
`
