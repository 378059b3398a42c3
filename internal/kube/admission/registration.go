package admission

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Registration is how the API server is told of the webhook: what matters of
// the ValidatingWebhookConfiguration that has its name.
type Registration struct {
	URL string // where it is, when that is a URL
	// Server is the name that its certificate must be for; Service the service
	// behind it, as NAMESPACE/NAME, when it is one.
	Server, Service string
	CA              []byte // in PEM; empty: the API server's own authorities
	Ignore          bool   // the API server goes on when there is no answer (failurePolicy)
	Timeout         time.Duration
	Exec            bool // it is asked about pods/exec
}

// RegistrationPath is where an API server keeps it.
const RegistrationPath = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/" + WebhookName

// registration is the form of admissionregistration.k8s.io/v1, without what does
// not matter.
type registration struct {
	Webhooks []struct {
		Name         string `json:"name"`
		ClientConfig struct {
			URL     string `json:"url"`
			Service *struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"service"`
			CABundle []byte `json:"caBundle"`
		} `json:"clientConfig"`
		FailurePolicy  string `json:"failurePolicy"`
		TimeoutSeconds int    `json:"timeoutSeconds"`
		Rules          []struct {
			Operations []string `json:"operations"`
			Resources  []string `json:"resources"`
		} `json:"rules"`
	} `json:"webhooks"`
}

// ParseRegistration reads a ValidatingWebhookConfiguration in JSON.
func ParseRegistration(body []byte) (Registration, error) {
	var in registration
	if err := json.Unmarshal(body, &in); err != nil {
		return Registration{}, fmt.Errorf("read webhook configuration: %w", err)
	}
	if len(in.Webhooks) != 1 || in.Webhooks[0].Name != WebhookName {
		return Registration{}, errors.New("read webhook configuration: it is not one that sallyport kube webhook-config prints")
	}
	w := &in.Webhooks[0]
	out := Registration{
		URL: w.ClientConfig.URL, CA: w.ClientConfig.CABundle, Ignore: w.FailurePolicy == "Ignore",
		Timeout: time.Duration(w.TimeoutSeconds) * time.Second,
	}
	if s := w.ClientConfig.Service; s != nil {
		out.Service, out.Server = s.Namespace+"/"+s.Name, s.Name+"."+s.Namespace+".svc"
	}
	for _, r := range w.Rules {
		connects := slices.Contains(r.Operations, "CONNECT") || slices.Contains(r.Operations, "*")
		execs := slices.ContainsFunc(r.Resources, func(s string) bool { return s == "pods/exec" || s == "pods/*" || s == "*/exec" || s == "*/*" })
		out.Exec = out.Exec || connects && execs
	}
	return out, nil
}
