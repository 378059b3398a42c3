package up

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/export"
	"github.com/sallyport/sallyport/internal/export/ecs"
	"github.com/sallyport/sallyport/internal/export/falco"
	"github.com/sallyport/sallyport/internal/export/jsonl"
	"github.com/sallyport/sallyport/internal/export/ocsf"
	"github.com/sallyport/sallyport/internal/export/otlp"
	"github.com/sallyport/sallyport/internal/export/post"
	"github.com/sallyport/sallyport/internal/export/redact"
	"github.com/sallyport/sallyport/internal/export/syslog"
	"github.com/sallyport/sallyport/internal/lib/webhook"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/internal/watch"
)

// ledgerSource is the store as the source of exports.
type ledgerSource struct{ reader *store.Reader }

// Follow implements export.Source.
func (s ledgerSource) Follow(ctx context.Context, after int64) iter.Seq2[export.Record, error] {
	return func(yield func(export.Record, error) bool) {
		for r, err := range s.reader.Records(ctx, after) {
			out := export.Record{Position: r.Position, Finding: r.Finding, Missed: r.Gone}
			if r.Revision != nil {
				out.Session, out.Changed = &r.Revision.Session, r.Revision.Changed
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// exporters are all exports of a configuration.
type exporters []*export.Exporter

func newExports(ctx context.Context, conf config.Config, reader *store.Reader, log *slog.Logger) (exporters, error) {
	targets := strings.Fields(conf.ExportTo)
	if len(targets) == 0 {
		return nil, nil
	}
	bad := func(err error) error { return exit.Fail(exit.Usage, "", "export: %w", err) }
	var names []string
	if conf.ExportRedact != "" {
		names = strings.Split(conf.ExportRedact, ",")
	}
	redactor, err := redact.New(redact.Rules{Names: names})
	if err != nil {
		return nil, bad(err)
	}
	start := int64(-1)
	if conf.ExportFrom == "now" {
		if start, err = reader.Last(ctx); err != nil {
			return nil, err
		}
	}
	var out exporters
	for _, text := range targets {
		t, err := config.ParseTarget(text)
		if err != nil {
			return nil, bad(err)
		}
		d, err := destination(&conf, t)
		if err != nil {
			return nil, bad(err)
		}
		opt := export.Options{
			Name: t.Name(), Source: ledgerSource{reader}, Destination: d, Redactor: redactor, Start: start,
			Dir: filepath.Join(conf.State, "export", t.Name()), QueueBytes: conf.ExportQueue, Logger: log,
		}
		if conf.ExportRecords == "findings" {
			opt.Keep = func(r export.Record) bool { return r.Finding != nil }
		}
		e, err := export.New(opt)
		if err != nil {
			return nil, bad(err)
		}
		out = append(out, e)
	}
	return out, nil
}

// destination returns the way to a receiver. Files are read now, so that what is
// wrong with them is said at the start.
func destination(c *config.Config, t config.Target) (export.Destination, error) {
	security, err := exportTLS(c)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	origin := export.Origin{Host: host, Version: build.This().Version}
	if t.Format == "syslog" {
		return syslog.New(syslog.Options{Address: t.URL.Host, Origin: origin, TLS: security})
	}
	opt := post.Options{URL: t.URL.String(), TLS: security, Header: http.Header{}}
	switch t.Format {
	case "jsonl", "webhook":
		opt.Format = jsonl.New()
	case "falco":
		opt.Format = falco.New(origin)
	case "ocsf":
		opt.Format = ocsf.New(origin)
	case "ecs":
		opt.Format = ecs.New(origin)
	case "otlp":
		opt.Format, opt.Accept = otlp.New(origin), otlp.Partly
	}
	if c.ExportTokenFile != "" {
		token, err := os.ReadFile(c.ExportTokenFile)
		if err != nil {
			return nil, err
		}
		opt.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	if t.Format == "webhook" {
		if c.ExportSecretFile == "" {
			return nil, errors.New("webhook+ signs what it sends: name a file with the secret, --export-secret-file or export.secret_file")
		}
		text, err := os.ReadFile(c.ExportSecretFile)
		if err != nil {
			return nil, fmt.Errorf("export.secret_file: %w", err)
		}
		if opt.Secret, err = webhook.NewSecret(string(text)); err != nil {
			return nil, err
		}
	}
	return post.New(opt)
}

func exportTLS(c *config.Config) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ExportCA != "" {
		text, err := os.ReadFile(c.ExportCA)
		if err != nil {
			return nil, err
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in it", c.ExportCA)
		}
	}
	if cmp.Or(c.ExportCert, c.ExportKey) != "" {
		pair, err := tls.LoadX509KeyPair(c.ExportCert, c.ExportKey)
		if err != nil {
			return nil, err
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

// run starts all exports. One whose directory cannot be used ends all: that is
// for whoever starts it to see. What fails later is tried again.
func (x exporters) run(ctx context.Context, group *errgroup.Group) {
	for _, e := range x {
		group.Go(func() error { return e.Run(ctx) })
	}
}

func (x exporters) status() []watch.Export {
	out := make([]watch.Export, len(x))
	for i, e := range x {
		out[i] = watch.Export(e.Stats())
	}
	return out
}
