package cli

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sallyport/sallyport/internal/kube/admission"
)

const (
	podsPath    = "/api/v1/pods?limit=1"
	webhookPath = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/" + admission.WebhookName
)

// checkKube reports what the API server lets Sallyport see; nothing where none
// is configured.
func (x *exam) checkKube(ctx context.Context) []diagnosis {
	if x.kube == nil {
		return nil
	}
	code, err := x.kube(ctx, podsPath)
	if err != nil {
		return one(diagnosis{
			Check: "API server", Grade: gradeDegraded, Found: err.Error(),
			Effect: "probes and hooks of pods are not known; which pod a container belongs to is, from the node's runtime",
			Remedy: []string{"give a kubeconfig that works: sallyport doctor --kubeconfig FILE"},
		})
	}
	return []diagnosis{
		{Check: "API server", Grade: gradeOK, Found: "answers"}, podsDiagnosis(code), x.webhookDiagnosis(ctx),
	}
}

func podsDiagnosis(code int) diagnosis {
	if code == http.StatusOK {
		return diagnosis{Check: "pods", Grade: gradeOK, Found: "may be read: containers, probes and hooks are known"}
	}
	d := diagnosis{
		Check: "pods", Grade: gradeDegraded, Found: fmt.Sprintf("may not be read: %d %s", code, http.StatusText(code)),
		Effect: "probes and hooks of pods are not known; which pod a container belongs to is, from the node's runtime",
		Remedy: []string{"sallyport kube rbac | kubectl apply -f -"},
	}
	if code == http.StatusUnauthorized {
		d.Remedy = []string{"give a kubeconfig with credentials that the API server accepts"}
	}
	return d
}

func (x *exam) webhookDiagnosis(ctx context.Context) diagnosis {
	d := diagnosis{Check: "admission", Grade: gradeNote}
	switch code, err := x.kube(ctx, webhookPath); {
	case err != nil:
		d.Found = err.Error()
	case code == http.StatusOK:
		d.Grade, d.Found = gradeOK, "the API server is told of the webhook "+admission.WebhookName
	case code == http.StatusNotFound:
		d.Found = "the API server is not told of the webhook"
		d.Effect = "who ran a command in a pod is known from the audit log alone: of several who ran the same at once, all are listed"
		d.Remedy = []string{"sallyport up --admission ADDR, and: sallyport kube webhook-config --url https://ADDR | kubectl apply -f -"}
	default:
		d.Found = fmt.Sprintf("cannot tell whether the API server is told of the webhook: %d %s", code, http.StatusText(code))
		d.Remedy = []string{"sallyport kube rbac | kubectl apply -f -"}
	}
	return d
}
