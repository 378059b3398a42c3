package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/lib/loopback"
	"github.com/sallyport/sallyport/internal/recording"
)

// setting is one value that can be configured: its key in the file and how it
// is set from text. The flags use the same setters, so a value is checked alike
// wherever it comes from.
type setting struct {
	key string
	set func(c *Config, value string) error
}

var settings = []setting{
	{"version", func(_ *Config, v string) error {
		if v != strconv.Itoa(Version) {
			return fmt.Errorf("this sallyport reads version %d", Version)
		}
		return nil
	}},
	{"state", func(c *Config, v string) error { return setPath(&c.State, v) }},
	{"listen", func(c *Config, v string) error {
		c.Listen = v
		if v == "off" {
			return nil
		}
		return loopback.Check(v)
	}},
	{"docker", func(c *Config, v string) error {
		c.Docker = v
		return checkDocker(v)
	}},
	{"containerd", func(c *Config, v string) error { return setPath(&c.Containerd, strings.TrimPrefix(v, "unix://")) }},
	{"crio", func(c *Config, v string) error { return setPath(&c.CRIO, strings.TrimPrefix(v, "unix://")) }},
	{"gate", func(c *Config, v string) error { return setPath(&c.Gate, v) }},
	{"client_requests", func(c *Config, v string) error {
		c.ClientRequests = v
		if !slices.Contains([]string{"auto", "always", "off"}, v) {
			return errors.New("want auto, always or off")
		}
		return nil
	}},
	{"audit.log", func(c *Config, v string) error { return setPath(&c.AuditLog, v) }},
	{"audit.webhook", func(c *Config, v string) error {
		c.AuditWebhook = v
		_, port, err := net.SplitHostPort(v)
		if err == nil && port == "" {
			err = errors.New("want host:port")
		}
		return err
	}},
	{"audit.cert", func(c *Config, v string) error { return setPath(&c.AuditCert, v) }},
	{"audit.key", func(c *Config, v string) error { return setPath(&c.AuditKey, v) }},
	{"audit.client_ca", func(c *Config, v string) error { return setPath(&c.AuditClientCA, v) }},
	{"audit.token_file", func(c *Config, v string) error { return setPath(&c.AuditTokenFile, v) }},
	{"admission.listen", func(c *Config, v string) error {
		c.AdmissionListen = v
		_, _, err := net.SplitHostPort(v)
		return err
	}},
	{"admission.names", func(c *Config, v string) error { c.AdmissionNames = v; return nil }},
	{"admission.cert", func(c *Config, v string) error { return setPath(&c.AdmissionCert, v) }},
	{"admission.key", func(c *Config, v string) error { return setPath(&c.AdmissionKey, v) }},
	{"admission.client_ca", func(c *Config, v string) error { return setPath(&c.AdmissionClientCA, v) }},
	{"admission.hold", func(c *Config, v string) (err error) {
		c.AdmissionHold, err = time.ParseDuration(v)
		if err != nil || c.AdmissionHold < 0 || c.AdmissionHold >= admission.Timeout {
			return fmt.Errorf("want a duration below %s, which is what the API server waits for", admission.Timeout)
		}
		return nil
	}},
	{"kube.kubeconfig", func(c *Config, v string) error { return setPath(&c.KubeKubeconfig, v) }},
	{"kube.node", func(c *Config, v string) error { c.KubeNode = v; return nil }},
	{"rules", func(c *Config, v string) error { return setPath(&c.Rules, v) }},
	{"retention.age", func(c *Config, v string) (err error) {
		c.RetentionAge, err = parseAge(v)
		return err
	}},
	{"retention.size", func(c *Config, v string) (err error) {
		c.RetentionSize, err = parseSize(v)
		return err
	}},
	{"recording.age", func(c *Config, v string) (err error) {
		c.RecordingAge, err = parseAge(v)
		return err
	}},
	{"recording.size", func(c *Config, v string) (err error) {
		c.RecordingSize, err = parseSize(v)
		return err
	}},
	{"recording.recipients", func(c *Config, v string) error {
		c.RecordingRecipients = v
		_, err := recording.ParseRecipients(v)
		return err
	}},
	{"recording.mode", func(c *Config, v string) error { return setWord(&c.RecordingMode, v, recordStrict, RecordLenient) }},
	{"recording.input", func(c *Config, v string) error {
		return setWord(&c.RecordingInput, v, string(recording.InputNone), string(recording.InputEchoed))
	}},
	{"node.collector", func(c *Config, v string) error { return setAddress(&c.NodeCollector, v) }},
	{"node.cert", func(c *Config, v string) error { return setPath(&c.NodeCert, v) }},
	{"node.key", func(c *Config, v string) error { return setPath(&c.NodeKey, v) }},
	{"node.ca", func(c *Config, v string) error { return setPath(&c.NodeCA, v) }},
	{"node.name", func(c *Config, v string) error { c.NodeName = v; return nil }},
	{"node.spool", func(c *Config, v string) (err error) {
		c.NodeSpool, err = parseSize(v)
		return err
	}},
	{"collect.listen", func(c *Config, v string) error { return setAddress(&c.CollectListen, v) }},
	{"collect.cert", func(c *Config, v string) error { return setPath(&c.CollectCert, v) }},
	{"collect.key", func(c *Config, v string) error { return setPath(&c.CollectKey, v) }},
	{"collect.ca", func(c *Config, v string) error { return setPath(&c.CollectCA, v) }},
	{"export.to", func(c *Config, v string) error {
		c.ExportTo = v
		for _, to := range strings.Fields(v) {
			if _, err := ParseTarget(to); err != nil {
				return err
			}
		}
		return nil
	}},
	{"export.records", func(c *Config, v string) error { return setWord(&c.ExportRecords, v, "all", "findings") }},
	{"export.from", func(c *Config, v string) error { return setWord(&c.ExportFrom, v, "now", "beginning") }},
	{"export.queue", func(c *Config, v string) (err error) {
		c.ExportQueue, err = parseSize(v)
		return err
	}},
	{"export.ca", func(c *Config, v string) error { return setPath(&c.ExportCA, v) }},
	{"export.cert", func(c *Config, v string) error { return setPath(&c.ExportCert, v) }},
	{"export.key", func(c *Config, v string) error { return setPath(&c.ExportKey, v) }},
	{"export.token_file", func(c *Config, v string) error { return setPath(&c.ExportTokenFile, v) }},
	{"export.secret_file", func(c *Config, v string) error { return setPath(&c.ExportSecretFile, v) }},
	{"export.redact", func(c *Config, v string) error { c.ExportRedact = v; return nil }},
}

// Keys lists the keys of the configuration file.
func Keys() []string {
	keys := make([]string, len(settings))
	for i, s := range settings {
		keys[i] = s.key
	}
	return keys
}

// flagNames lists the flags whose names are not their setting's key.
var flagNames = map[string]string{
	"admission.listen": "admission", "collect.listen": "collect", "kube.kubeconfig": "kubeconfig",
	"node.collector": "node", "node.ca": "collector-ca", "export.to": "export",
}

// flag returns the name of the setting's flag.
func (s setting) flag() string {
	if name, ok := flagNames[s.key]; ok {
		return name
	}
	return strings.NewReplacer("_", "-", ".", "-").Replace(s.key)
}

func setPath(to *string, v string) error {
	*to = v
	if v == "" {
		return errors.New("want a path")
	}
	return nil
}

func setWord(to *string, v string, words ...string) error {
	*to = v
	if !slices.Contains(words, v) {
		return fmt.Errorf("want %s", strings.Join(words, " or "))
	}
	return nil
}

func setAddress(to *string, v string) error {
	*to = v
	if _, _, err := net.SplitHostPort(v); err != nil {
		return errors.New("want HOST:PORT")
	}
	return nil
}

func checkDocker(v string) error {
	if strings.HasPrefix(v, "/") {
		return nil
	}
	u, err := url.Parse(v)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"unix", "tcp", "http", "https"}, u.Scheme) || u.Host+u.Path == "" {
		return errors.New("want a socket path, unix:///path or tcp://host:port")
	}
	return nil
}

// parseAge reads a duration; besides Go's units it knows d for 24 hours.
func parseAge(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		d = time.Duration(n * 24 * float64(time.Hour))
	}
	if v == "0" {
		return 0, nil
	}
	if err != nil || d <= 0 || d > 100*365*24*time.Hour {
		return 0, errors.New("want a duration such as 90m, 12h or 30d")
	}
	return d, nil
}

func parseSize(v string) (int64, error) {
	number := strings.TrimRight(v, "KMGTiB ")
	shift, ok := map[string]int{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[strings.TrimSpace(v[len(number):])]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, errors.New("want a size such as 500MiB or 2GiB")
	}
	return n << shift, nil
}

// ParseSince reads a moment: "" for none, a duration before now, or a time.
func ParseSince(v string, now time.Time) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	if d, err := parseAge(v); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, v, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, exit.Fail(exit.Usage, "--since 1h, --since 7d, --since 2006-01-02 or --since 2006-01-02T15:04:05Z", "--since %q: neither a duration nor a time", v)
}
