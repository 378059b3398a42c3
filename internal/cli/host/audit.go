package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/api"
	"github.com/sallyport/sallyport/internal/kube/audit"
)

// Audit returns the witness of the API server's audit that the configuration
// asks for, nil when it asks for none. With kept it goes on where an earlier run
// stopped and asks the API server whether something is missing; the state
// directory is there.
func Audit(conf config.Config, log *slog.Logger, kept bool) (*audit.Witness, error) {
	o := audit.Options{Logger: log}
	if conf.AuditLog != "" {
		o.Log = &audit.LogOptions{Path: conf.AuditLog}
		if kept {
			o.Log.Bookmark = statedir.File(filepath.Join(conf.State, statedir.AuditBookmark))
		}
	}
	if conf.AuditWebhook != "" {
		w, err := auditWebhook(conf)
		if err != nil {
			return nil, exit.Fail(exit.Usage, "sallyport kube audit-webhook --help", "audit: %w", err)
		}
		o.Webhook = &w
	}
	if o.Log == nil && o.Webhook == nil {
		return nil, nil
	}
	if conf.KubeKubeconfig != "" && kept {
		key, err := canaryKey(conf.State)
		if err != nil {
			return nil, err
		}
		connect := sync.OnceValues(func() (*api.Client, error) { return api.Connect(conf.KubeKubeconfig) })
		o.Canary = &audit.CanaryOptions{Probe: canaryProbe(connect), Key: key, Every: CanaryEvery}
		o.Drops = &audit.DropsOptions{Metrics: serverMetrics(connect), Keeper: statedir.File(filepath.Join(conf.State, statedir.AuditDrops))}
	}
	return audit.New(o), nil
}

// CanaryEvery is how often a canary goes through the audit log. It is also how
// long a name may have to wait where nothing else says that the log is complete.
const CanaryEvery = 30 * time.Second

// canaryProbe returns what sends a canary to the API server.
func canaryProbe(connect func() (*api.Client, error)) func(context.Context, string) error {
	return func(ctx context.Context, token string) error {
		client, err := connect()
		if err != nil {
			return err
		}
		_, err = client.Probe(ctx, audit.CanaryURI(token))
		return err
	}
}

// serverMetrics returns what asks the API server for its metrics.
func serverMetrics(connect func() (*api.Client, error)) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		client, err := connect()
		if err != nil {
			return nil, err
		}
		body, err := client.Get(ctx, api.MetricsPath, "text/plain")
		var status *api.StatusError
		if errors.As(err, &status) && status.Hint() != "" {
			err = fmt.Errorf("%w; try: %s", err, status.Hint())
		}
		return body, err
	}
}

// canaryKey returns the key in the state directory, drawing it the first time.
func canaryKey(state string) ([]byte, error) {
	file := statedir.File(filepath.Join(state, statedir.AuditCanary))
	key, err := file.Load()
	if err == nil && len(key) < 16 {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		err = file.Save(key)
	}
	if err != nil {
		return nil, fmt.Errorf("key of the canary: %w", err)
	}
	return key, nil
}

// auditWitness adds to the audit log whose clock its times are by. A log that
// this host's own API server writes is by the clock that we use ourselves.
type auditWitness struct{ *audit.Witness }

// Run implements watch.Witness.
func (w auditWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	if api.ServedHere() {
		emit(event.Clock{
			Header: event.Header{Time: time.Now().UTC(), Witness: event.WitnessEngine},
			Of:     "apiserver", Error: event.Duration(time.Millisecond),
		})
	}
	return w.Witness.Run(ctx, emit)
}

// auditWebhook returns the receiver's options: certificates that were given, or
// those of the state directory.
func auditWebhook(conf config.Config) (audit.WebhookOptions, error) {
	if conf.AuditCert == "" {
		id, err := audit.EnsureIdentity(filepath.Join(conf.State, statedir.AuditIdentity), audit.OwnNames(conf.AuditWebhook))
		if err != nil {
			return audit.WebhookOptions{}, err
		}
		return id.Options(conf.AuditWebhook)
	}
	o := audit.WebhookOptions{Address: conf.AuditWebhook}
	var err error
	if o.Certificate, err = tls.LoadX509KeyPair(conf.AuditCert, conf.AuditKey); err != nil {
		return o, fmt.Errorf("audit.cert: %w", err)
	}
	if conf.AuditClientCA != "" {
		pem, err := os.ReadFile(conf.AuditClientCA)
		if err != nil {
			return o, fmt.Errorf("audit.client_ca: %w", err)
		}
		if o.ClientCA = x509.NewCertPool(); !o.ClientCA.AppendCertsFromPEM(pem) {
			return o, fmt.Errorf("audit.client_ca: no certificate in %s", conf.AuditClientCA)
		}
	}
	if conf.AuditTokenFile != "" {
		token, err := os.ReadFile(conf.AuditTokenFile)
		if err != nil {
			return o, fmt.Errorf("audit.token_file: %w", err)
		}
		o.Token = string(bytes.TrimSpace(token))
	}
	if o.ClientCA == nil && o.Token == "" {
		return o, errors.New("audit.cert needs audit.client_ca or audit.token_file: otherwise anybody could tell lies")
	}
	return o, nil
}

// Counters returns what is counted beside the engine; audits may be nil.
func (h *Host) Counters(audits *audit.Witness) func() map[string]uint64 {
	return func() map[string]uint64 {
		out := h.parser.counters()
		if audits == nil {
			return out
		}
		s := audits.Stats()
		for name, n := range map[string]uint64{
			"audit_events": s.Events, "audit_relevant": s.Relevant, "audit_bytes": s.Bytes, "audit_malformed": s.Malformed,
			"audit_oversized": s.Oversized, "audit_posts": s.Posts, "audit_posts_refused": s.Refused, "audit_rotations": s.Rotations,
			"audit_gaps": s.Gaps, "audit_canaries": s.Canaries, "audit_dropped": s.Dropped,
		} {
			out[name] = n
		}
		return out
	}
}

// AuditFrom says where audit events come from, "" when from nowhere.
func AuditFrom(conf config.Config) string {
	var from []string
	if conf.AuditLog != "" {
		from = append(from, "log "+conf.AuditLog)
	}
	if conf.AuditWebhook != "" {
		from = append(from, "webhook on "+conf.AuditWebhook)
	}
	return strings.Join(from, ", ")
}
