package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/attack"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/lib/exposition"
	"github.com/sallyport/sallyport/internal/lib/wording"
)

const (
	podsPath = "/api/v1/pods?limit=1"
	// watchPath watches for a second what does not exist, so that a large cluster's
	// pods are not sent.
	watchPath = "/api/v1/pods?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dsallyport-none"

	podsUnknown = "probes and hooks of pods are not known; which pod a container belongs to is, from the node's runtime"
	applyRBAC   = "sallyport kube rbac | kubectl apply -f -"
)

// checkKube reports whether the API server answers; nothing where none is
// configured.
func (x *exam) checkKube(ctx context.Context) []diagnosis {
	if x.kube == nil {
		return nil
	}
	if _, _, err := x.kube(ctx, "/version"); err != nil {
		return one(diagnosis{
			Check: "API server", Grade: gradeDegraded, Found: err.Error(), Effect: podsUnknown,
			Remedy: []string{"give a kubeconfig that works: sallyport doctor --kubeconfig FILE"},
		})
	}
	return one(diagnosis{Check: "API server", Grade: gradeOK, Found: "answers"})
}

// checkPods reports whether pods may be listed and watched.
func (x *exam) checkPods(ctx context.Context) []diagnosis {
	if x.kube == nil {
		return nil
	}
	d := diagnosis{Check: "pods", Grade: gradeOK, Found: "may be listed and watched: containers, probes and hooks are known"}
	for _, ask := range []struct{ what, path string }{{"listed", podsPath}, {"watched", watchPath}} {
		code, _, err := x.kube(ctx, ask.path)
		if err != nil {
			return nil // checkKube says it
		}
		if code == http.StatusOK {
			continue
		}
		d.Grade, d.Found, d.Effect = gradeDegraded, fmt.Sprintf("may not be %s: %d %s", ask.what, code, http.StatusText(code)), podsUnknown
		d.Remedy = []string{applyRBAC}
		if code == http.StatusUnauthorized {
			d.Remedy = []string{"give a kubeconfig with credentials that the API server accepts"}
		}
		return one(d)
	}
	d.gives = []attack.Need{attack.NeedPods}
	return one(d)
}

// checkAdmission reports whether the API server is told of the webhook, believes
// it, reaches it, and goes on without it.
func (x *exam) checkAdmission(ctx context.Context) []diagnosis {
	if x.kube == nil {
		if x.conf.AdmissionListen == "" {
			return nil
		}
		return one(diagnosis{
			Check: "admission", Grade: gradeNote, Found: "whether the API server is told of the webhook cannot be asked",
			Remedy: []string{"give a kubeconfig: sallyport doctor --admission " + x.conf.AdmissionListen + " --kubeconfig FILE"},
		})
	}
	d := diagnosis{Check: "admission", Grade: gradeNote}
	code, body, err := x.kube(ctx, admission.RegistrationPath)
	switch {
	case err != nil:
		return nil // checkKube says it
	case code == http.StatusNotFound:
		d.Found = "the API server is not told of the webhook"
		d.Effect = "who ran a command in a pod is known from the audit log alone: of several who ran the same at once, all are listed"
		d.Remedy = []string{"sallyport up --admission ADDR, and: sallyport kube webhook-config --url https://ADDR | kubectl apply -f -"}
		if x.conf.AdmissionListen != "" {
			d.Grade = gradeDegraded
		}
		return one(d)
	case code != http.StatusOK:
		d.Found = fmt.Sprintf("cannot tell whether the API server is told of the webhook: %d %s", code, http.StatusText(code))
		d.Remedy = []string{applyRBAC}
		return one(d)
	}
	r, err := admission.ParseRegistration(body)
	if err != nil {
		d.Grade, d.Found, d.Remedy = gradeDegraded, err.Error(), []string{printConfig("https://ADDR")}
		return one(d)
	}
	return append(x.registered(r), x.believed(ctx, r), x.called(ctx))
}

func printConfig(target string) string {
	return "sallyport kube webhook-config --url " + target + " | kubectl apply -f -"
}

// whereabouts is where the API server looks for the webhook, for a person.
func whereabouts(r admission.Registration) string {
	if r.URL != "" {
		return r.URL
	}
	return "service " + r.Service
}

// registered reports what the API server is told.
func (x *exam) registered(r admission.Registration) []diagnosis {
	d := diagnosis{
		Check: "admission", Grade: gradeOK, Found: "the API server is told of the webhook at " + whereabouts(r) + ", and goes on when it does not answer",
		gives: []attack.Need{attack.NeedAdmission},
	}
	switch {
	case !r.Exec:
		d.Grade, d.Found, d.gives = gradeDegraded, "the API server does not ask the webhook at "+whereabouts(r)+" about pods/exec", nil
		d.Remedy = []string{printConfig("https://ADDR")}
	case r.Timeout <= x.conf.AdmissionHold:
		d.Grade, d.Found = gradeDegraded, fmt.Sprintf("the API server waits %s for the webhook, which may hold an exec for %s", r.Timeout, x.conf.AdmissionHold)
		d.Effect, d.Remedy = "it goes on before the webhook has answered", []string{"set admission.hold below that, or: " + printConfig("https://ADDR")}
	case !r.Ignore:
		d.Grade, d.Found = gradeNote, "the API server is told of the webhook at "+whereabouts(r)+" with failurePolicy Fail"
		d.Effect = "while sallyport up is down nobody can exec into a pod or change one"
		d.Remedy = []string{"if that is not meant: " + printConfig("https://ADDR")}
	}
	return one(d)
}

// webhookPair are the files of the certificate that the webhook shows.
func (x *exam) webhookPair() (cert, key string) {
	if x.conf.AdmissionCert != "" {
		return x.conf.AdmissionCert, x.conf.AdmissionKey
	}
	dir := filepath.Join(x.conf.State, statedir.Admission)
	return filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
}

// believed reports whether the certificate of the webhook is one that the API
// server believes, and whether the webhook answers at its URL from here.
func (x *exam) believed(ctx context.Context, r admission.Registration) diagnosis {
	server, address := r.Server, ""
	if u, err := url.Parse(r.URL); err == nil && r.URL != "" {
		server, address = u.Hostname(), u.Host
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "443")
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(r.CA) {
		return diagnosis{Check: "admission certificate", Grade: gradeNote, Found: "the API server is given no authority for the webhook: it believes its own"}
	}
	if address == "" {
		return x.ownCertificate(roots, server)
	}
	leaf, err := shown(ctx, address, &tls.Config{RootCAs: roots, ServerName: server, MinVersion: tls.VersionTLS12})
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return diagnosis{
			Check: "admission webhook", Grade: gradeDegraded, Found: "nobody answers at " + r.URL + ": " + err.Error(),
			Effect: "the API server goes on without it: no request is named by it",
			Remedy: []string{"sallyport up --admission ADDR, with the port of that URL"},
		}
	case err != nil:
		return diagnosis{
			Check: "admission webhook", Grade: gradeDegraded, Found: "who answers at " + r.URL + " is not who the API server is told of: " + err.Error(),
			Effect: "the API server goes on without it: no request is named by it",
			Remedy: []string{printConfig(r.URL) + ", and start sallyport up anew"},
		}
	}
	return lasting(diagnosis{Check: "admission webhook", Grade: gradeOK, Found: "answers at " + r.URL + " with a certificate that the API server believes"}, leaf, x.now(), "start sallyport up anew: it makes a new one")
}

// ownCertificate looks at the webhook's certificate itself, where it is behind a
// service.
func (x *exam) ownCertificate(roots *x509.CertPool, server string) diagnosis {
	cert, key := x.webhookPair()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return diagnosis{
			Check: "admission certificate", Grade: gradeNote, Found: "cannot be looked at here: " + err.Error(),
			Remedy: []string{"ask as the user and with the --state of sallyport up"},
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: server, CurrentTime: x.now()}); err != nil {
		return diagnosis{
			Check: "admission certificate", Grade: gradeDegraded, Found: "the API server does not believe " + cert + ": " + err.Error(),
			Effect: "it goes on without the webhook: no request is named by it",
			Remedy: []string{"sallyport kube webhook-config --service NAMESPACE/NAME | kubectl apply -f -, and start sallyport up anew"},
		}
	}
	return lasting(diagnosis{Check: "admission certificate", Grade: gradeOK, Found: cert + " is one that the API server believes"}, pair.Leaf, x.now(), "start sallyport up anew: it makes a new one")
}

// shown returns the certificate that a server shows, once it is verified.
func shown(ctx context.Context, address string, c *tls.Config) (*x509.Certificate, error) {
	conn, err := (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// soon is how long before its end a certificate is worth a word.
const soon = 21 * 24 * time.Hour

// lasting adds to d how long a certificate is still valid.
func lasting(d diagnosis, leaf *x509.Certificate, now time.Time, renew string) diagnosis {
	left := leaf.NotAfter.Sub(now)
	d.Found += fmt.Sprintf(", valid until %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	switch {
	case left <= 0:
		d.Grade, d.Found, d.Remedy = gradeMissing, fmt.Sprintf("%s: that was %s ago", d.Found, wording.Duration(-left)), []string{renew}
	case now.Before(leaf.NotBefore):
		d.Grade, d.Found, d.Remedy = gradeMissing, d.Found+", and not before "+leaf.NotBefore.UTC().Format(time.DateTime)+" UTC", []string{"look at this host's clock: timedatectl"}
	case left < soon:
		d.Grade, d.Effect, d.Remedy = gradeDegraded, "then nothing gets through any more", []string{renew}
	}
	return d
}

// The API server's counts of its calls of webhooks (k8s.io/apiserver
// pkg/admission/metrics).
const (
	callsMetric = "apiserver_admission_webhook_request_total"
	openMetric  = "apiserver_admission_webhook_fail_open_count"
)

// called reports how the API server itself has fared with the webhook: nobody
// else can say whether it reaches it.
func (x *exam) called(ctx context.Context) diagnosis {
	d := diagnosis{Check: "admission calls", Grade: gradeNote}
	code, body, err := x.kube(ctx, api.MetricsPath)
	if err != nil || code != http.StatusOK {
		d.Found, d.Remedy = fmt.Sprintf("whether the API server reaches the webhook cannot be asked: %d %s", code, http.StatusText(code)), []string{applyRBAC}
		if err != nil {
			d.Found, d.Remedy = "whether the API server reaches the webhook is not known: "+err.Error(), nil
		}
		return d
	}
	var answered, open float64
	for s, err := range exposition.Find(bytes.NewReader(body), callsMetric, openMetric) {
		switch {
		case err != nil:
			d.Found = "whether the API server reaches the webhook is not known: " + err.Error()
			return d
		case s.Labels["name"] != admission.WebhookName:
		case s.Name == openMetric:
			open += s.Value
		case s.Labels["code"] == "200":
			answered += s.Value
		}
	}
	d.Found = fmt.Sprintf("since its start the API server got %.0f answers of the webhook and went on without one %.0f times", answered, open)
	switch {
	case answered == 0 && open == 0:
		d.Found = "the API server has not called the webhook since it started"
		d.Remedy = []string{"kubectl exec into any pod, and ask again"}
	case answered == 0:
		d.Grade, d.Effect = gradeDegraded, "the API server does not reach the webhook, though it may be reached from here"
		d.Remedy = []string{"from the API server's host: curl -k https://ADDR/healthz, and open the way to it"}
	case open > 0:
		d.Effect = "what it let pass without the webhook is named by the audit log alone"
	default:
		d.Grade = gradeOK
	}
	return d
}
