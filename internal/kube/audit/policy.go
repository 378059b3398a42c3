package audit

import _ "embed"

// MinimalPolicy is the audit policy that an API server needs for what this
// package reads, and no more: YAML, for --audit-policy-file.
//
//go:embed policy.yaml
var MinimalPolicy []byte
