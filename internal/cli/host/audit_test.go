package host

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
)

// TestAuditIsKept reads a log twice: the second time begins where the first
// ended, by the file in the state directory.
func TestAuditIsKept(t *testing.T) {
	conf := config.Config{State: t.TempDir(), AuditLog: filepath.Join(t.TempDir(), "audit.log"), AuditWebhook: "127.0.0.1:0"}
	log, relevant := audittest.Mix{Seed: 1, Events: 40, Relevant: 1}.Lines()
	if err := os.WriteFile(conf.AuditLog, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := readAudit(t, conf, relevant, func() { write(t, conf.AuditLog, log) }); n != relevant {
		t.Errorf("%d requests, want %d", n, relevant)
	}
	write(t, conf.AuditLog, log)
	if n := readAudit(t, conf, relevant, func() {}); n != relevant {
		t.Errorf("%d requests the second time, want %d", n, relevant)
	}
	for _, name := range []string{statedir.AuditBookmark, statedir.AuditIdentity + "/server.key"} {
		if info, err := os.Stat(filepath.Join(conf.State, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
}

// readAudit runs the configured witness until it has told as many requests and
// stops it; up is called once it is up.
func readAudit(t *testing.T, conf config.Config, want int, up func()) int {
	t.Helper()
	w, err := Audit(conf, slog.New(slog.DiscardHandler), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, begun := 0, false
	_ = w.Run(ctx, func(o event.Observation) {
		switch o := o.(type) {
		case event.WitnessState:
			if o.Up && !begun && !strings.Contains(o.Reason, "log:") {
				begun = true
				up()
			}
		case event.KubeRequest:
			if n++; n == want {
				cancel()
			}
		}
	})
	return n
}

func TestAuditConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		conf config.Config
		want string
	}{
		"certificate without who may come": {config.Config{AuditWebhook: ":0", AuditCert: "c"}, "c"},
		"no such certificate":              {config.Config{AuditWebhook: ":0", AuditCert: "/none", AuditKey: "/none"}, "audit.cert"},
	} {
		c.conf.State = t.TempDir()
		if _, err := Audit(c.conf, slog.New(slog.DiscardHandler), true); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w, err := Audit(config.Config{}, slog.New(slog.DiscardHandler), true); w != nil || err != nil {
		t.Errorf("without configuration: %v %v", w, err)
	}
}
