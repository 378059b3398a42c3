package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/pods"
)

// podWitness connects each time it is started, because files change; what it
// knows of the pods stays.
type podWitness struct {
	host    *host
	witness *pods.Witness
}

// Run implements watch.Witness.
func (w *podWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	client, err := api.Connect(w.host.conf.KubeKubeconfig)
	if err != nil {
		return err
	}
	if w.witness == nil {
		w.witness = pods.New(pods.Options{Server: client, Node: w.host.conf.KubeNode, Logger: w.host.log})
	}
	return w.witness.Run(ctx, emit)
}

// admissionWitness reads its certificates each time it is started.
type admissionWitness struct{ host *host }

// Run implements watch.Witness.
func (w admissionWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	conf := w.host.conf
	cert, err := webhookCertificate(conf)
	if err != nil {
		return err
	}
	config, err := admission.ServerTLS(cert, conf.AdmissionClientCA)
	if err != nil {
		return err
	}
	o := admission.Options{Address: conf.AdmissionListen, TLS: config, Logger: w.host.log}
	if conf.AdmissionHold > 0 {
		o.Gate = w.host.starts.gate
	}
	return admission.New(o).Run(ctx, emit)
}

// webhookCertificate returns the certificate that was configured, or
// Sallyport's own.
func webhookCertificate(conf config) (tls.Certificate, error) {
	if conf.AdmissionCert == "" {
		cert, _, err := admission.Certificate(filepath.Join(conf.State, admissionDir), admissionNames(conf))
		return cert, err
	}
	cert, err := tls.LoadX509KeyPair(conf.AdmissionCert, conf.AdmissionKey)
	if err != nil {
		return cert, fmt.Errorf("certificate of the admission webhook: %w", err)
	}
	return cert, nil
}
