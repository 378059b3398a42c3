package host

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/pods"
	"github.com/sallyport/sallyport/internal/watch"
)

// podWitness connects each time it is started, because files change; what it
// knows of the pods stays.
type podWitness struct {
	host    *Host
	witness atomic.Pointer[pods.Witness]
}

// PodStatus is what the witness of pods does as the engine reports it, nil before it has begun.
func (h *Host) PodStatus() *watch.Pods {
	p := h.pods.witness.Load()
	if p == nil {
		return nil
	}
	s := p.Stats()
	return &watch.Pods{Known: s.Pods, Reported: s.Reported, Unchanged: s.Unchanged, Lists: s.Lists, Watches: s.Watches, Malformed: s.Bad}
}

// Run implements watch.Witness.
func (w *podWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	client, err := api.Connect(w.host.conf.KubeKubeconfig)
	if err != nil {
		return err
	}
	if w.witness.Load() == nil {
		w.witness.Store(pods.New(pods.Options{Server: client, Node: w.host.conf.KubeNode, Logger: w.host.log}))
	}
	return w.witness.Load().Run(ctx, emit)
}

// admissionWitness reads its certificates each time it is started.
type admissionWitness struct {
	host    *Host
	witness atomic.Pointer[admission.Witness]
}

// AdmissionStatus is what the admission webhook and its gate do as the engine reports it, nil before it has
// begun.
func (h *Host) AdmissionStatus() *watch.Admission {
	a := h.admission.witness.Load()
	if a == nil {
		return nil
	}
	s, g := a.Stats(), h.starts.Gate.Stats()
	return &watch.Admission{
		Reviews: s.Reviews, Reported: s.Reported, Late: s.Late, Busy: s.Busy, Malformed: s.Bad, Panics: s.Panics,
		Passed: g.Passed, Alone: g.Alone, Held: g.Held, Vain: g.Timeout, HeldFor: g.Wait, Started: g.Started, Over: g.Over, Strange: g.Strange,
	}
}

// Run implements watch.Witness.
func (w *admissionWitness) Run(ctx context.Context, emit func(event.Observation)) error {
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
		o.Gate = w.host.starts.Gate
	}
	server := admission.New(o)
	w.witness.Store(server)
	return server.Run(ctx, emit)
}

// webhookCertificate returns the certificate that was configured, or
// Sallyport's own.
func webhookCertificate(conf config.Config) (tls.Certificate, error) {
	if conf.AdmissionCert == "" {
		cert, _, err := admission.Certificate(filepath.Join(conf.State, statedir.Admission), admissionNames(conf))
		return cert, err
	}
	cert, err := tls.LoadX509KeyPair(conf.AdmissionCert, conf.AdmissionKey)
	if err != nil {
		return cert, fmt.Errorf("certificate of the admission webhook: %w", err)
	}
	return cert, nil
}

// admissionNames returns the names that the webhook's certificate must hold.
// Nil takes the certificate as it is, whatever it names: webhook-config has
// made it for what it printed.
func admissionNames(conf config.Config) []string {
	if conf.AdmissionNames != "" {
		return slices.DeleteFunc(strings.Split(conf.AdmissionNames, ","), func(s string) bool { return s == "" })
	}
	host, _, _ := net.SplitHostPort(conf.AdmissionListen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil
	}
	return []string{host}
}
