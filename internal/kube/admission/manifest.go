package admission

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Timeout is how long the API server waits for the webhook, as Manifest says
// it. It bounds what a webhook that hangs costs an exec, and must be more than
// GateOptions.Hold.
const Timeout = 5 * time.Second

// Manifest returns a ValidatingWebhookConfiguration in YAML that sends to
// target everything that concerns commands, and goes on without an answer.
// target is an https URL, or NAMESPACE/NAME[:PORT] of a service; ca is the
// authority of its certificate in PEM.
func Manifest(target string, ca []byte) ([]byte, error) {
	client, err := clientConfig(target)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, manifest, client, base64.StdEncoding.EncodeToString(ca), int(Timeout/time.Second)), nil
}

func clientConfig(target string) (string, error) {
	if strings.Contains(target, "://") {
		u, err := url.Parse(target)
		if err != nil {
			return "", fmt.Errorf("webhook target: %w", err)
		}
		if u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return "", fmt.Errorf("webhook target %q: want https://HOST:PORT[/PATH]", target)
		}
		return fmt.Sprintf("url: %q", u), nil
	}
	name, port, hasPort := strings.Cut(target, ":")
	namespace, name, ok := strings.Cut(name, "/")
	n, err := strconv.Atoi(port)
	if !hasPort {
		n, err = 443, nil
	}
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") || err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("webhook target %q: %w", target, errTarget)
	}
	return fmt.Sprintf("service: {namespace: %q, name: %q, port: %d}", namespace, name, n), nil
}

var errTarget = errors.New("want a service NAMESPACE/NAME[:PORT] or a URL https://HOST:PORT")

// manifest asks for nothing that it has no use for: no deletes, no status.
const manifest = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: ` + WebhookName + `
webhooks:
- name: ` + WebhookName + `
  admissionReviewVersions: [v1]
  clientConfig:
    %s
    caBundle: %s
  failurePolicy: Ignore
  matchPolicy: Equivalent
  sideEffects: None
  timeoutSeconds: %d
  rules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CONNECT]
    resources: [pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy]
    scope: Namespaced
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CONNECT]
    resources: [nodes/proxy]
    scope: Cluster
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [UPDATE]
    resources: [pods/ephemeralcontainers]
    scope: Namespaced
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE, UPDATE]
    resources: [pods, podtemplates, replicationcontrollers]
    scope: Namespaced
  - apiGroups: [apps]
    apiVersions: [v1]
    operations: [CREATE, UPDATE]
    resources: [deployments, daemonsets, statefulsets, replicasets]
    scope: Namespaced
  - apiGroups: [batch]
    apiVersions: [v1]
    operations: [CREATE, UPDATE]
    resources: [jobs, cronjobs]
    scope: Namespaced
`
