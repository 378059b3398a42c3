package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/kube/admission"
	"github.com/sallyport/sallyport/internal/lib/loopback"
	"github.com/sallyport/sallyport/internal/recording"
)

// config is what `up` works by: the configuration file, then the flags over it.
// Every key is optional.
type config struct {
	// State is the directory that keeps sessions, observations and the ledger.
	State string
	// Listen is the loopback address of /healthz, /status and /metrics; port 0
	// takes a free one, "off" serves nothing.
	Listen string
	// Docker is the daemon's address: a socket path, unix:///path or tcp://host:port.
	Docker string
	// Containerd is the path of containerd's socket.
	Containerd string
	// Gate is the directory in which the socket gate is pinned, where one is on:
	// sallyport guard gate.
	Gate string
	// ClientRequests says when the requests of Docker clients are read at the
	// socket: auto, always or off.
	ClientRequests string
	// AuditLog is the path of the log that a kube-apiserver writes
	// (--audit-log-path); rotated files beside it are read, too.
	AuditLog string
	// AuditWebhook is the address on which to receive what a kube-apiserver sends
	// (--audit-webhook-config-file), with TLS: host:port.
	AuditWebhook string
	// AuditCert is the path of the webhook's certificate. Without it the state
	// directory has certificates for both sides: sallyport kube audit-webhook.
	AuditCert string
	// AuditKey is the path of the key to audit.cert.
	AuditKey string
	// AuditClientCA is the path of the certificates that the API server's own must
	// be signed by, with audit.cert.
	AuditClientCA string
	// AuditTokenFile is the path of a file with a token that the API server must
	// show, with audit.cert.
	AuditTokenFile string
	// AdmissionListen is where the admission webhook is served, HOST:PORT; without
	// it, it is not.
	AdmissionListen string
	// AdmissionNames are the names and addresses under which the API server
	// reaches the webhook, with commas between: they go into the certificate that
	// Sallyport makes for it. Without them, the address it listens on.
	AdmissionNames string
	// AdmissionCert is a file with the webhook's certificate in PEM, in place of
	// one that Sallyport makes; AdmissionKey must come with it.
	AdmissionCert string
	// AdmissionKey is a file with the key of AdmissionCert.
	AdmissionKey string
	// AdmissionClientCA is a file with the authorities of the API server's client
	// certificate. Without it, whoever reaches the webhook can claim that anybody
	// asks for anything.
	AdmissionClientCA string
	// AdmissionHold is how long an exec may be held until one that could be taken
	// for it has started; 0 holds none.
	AdmissionHold time.Duration
	// KubeKubeconfig is a kubeconfig file for the API server, or in-cluster for
	// the service account of the pod that Sallyport runs in. Without it pods are
	// known from the runtime alone.
	KubeKubeconfig string
	// KubeNode limits the pods that the API server is asked about to those of one
	// node.
	KubeNode string
	// Rules is a file or a directory of rules (docs/guide/rules.md), "shipped" for
	// those in the program (docs/guide/rule-pack.md), which alert and never deny,
	// or "none".
	Rules string
	// RetentionAge is how long ended sessions are kept, for example 30d or 12h;
	// 0 keeps them for ever.
	RetentionAge time.Duration
	// RetentionSize bounds the store, for example 2GiB; 0 does not.
	RetentionSize int64
	// RecordingAge is how long recordings are kept after the last byte.
	RecordingAge time.Duration
	// RecordingSize bounds the recordings on disk, for example 10GiB; the oldest go
	// first.
	RecordingSize int64
	// RecordingRecipients lists the public keys of age (age1…) of those who may read
	// recordings, with blanks between; without any, recordings are in clear.
	RecordingRecipients string
	// RecordingMode says what happens when a session cannot be recorded: strict
	// ends it or does not let it begin, lenient marks the gap.
	RecordingMode string
	// RecordingInput says how standard input is recorded: none of it, or echoed,
	// which is what a terminal shows, and all of it where there is no terminal.
	RecordingInput string
	// NodeCollector is the address, HOST:PORT, of the collector that this host
	// sends its observations to, instead of keeping sessions itself.
	NodeCollector string
	// NodeCert is this node's certificate (PEM); the node's name is its common name.
	NodeCert string
	// NodeKey is the certificate's private key (PEM).
	NodeKey string
	// NodeCA is the authority (PEM) that the collector's certificate must be of.
	NodeCA string
	// NodeName is what the certificate must name; without it any name will do.
	NodeName string
	// NodeSpool bounds what waits on disk for the collector, for example 1GiB.
	NodeSpool int64
	// CollectListen is the address, HOST:PORT, on which nodes are awaited.
	CollectListen string
	// CollectCert is the collector's certificate (PEM), for the name that nodes connect to.
	CollectCert string
	// CollectKey is the certificate's private key (PEM).
	CollectKey string
	// CollectCA is the authority (PEM) that the nodes' certificates must be of.
	CollectCA string
	// ExportTo lists where sessions and findings are sent, with blanks between:
	// jsonl+https://…, falco+http://…, ocsf+https://…, ecs+https://…, otlp+http://…,
	// webhook+https://…, syslog+tls://HOST:PORT.
	ExportTo string
	// ExportRecords says what is sent: all, or findings alone.
	ExportRecords string
	// ExportFrom says where a new export begins: now, or at the beginning of what
	// is kept.
	ExportFrom string
	// ExportQueue bounds what waits on disk for one receiver, for example 256MiB.
	ExportQueue int64
	// ExportCA is the authority (PEM) that receivers' certificates must be of;
	// without it, those of the system.
	ExportCA string
	// ExportCert is the certificate (PEM) that receivers are shown.
	ExportCert string
	// ExportKey is the certificate's private key (PEM).
	ExportKey string
	// ExportTokenFile is a file with a token that is shown to HTTP receivers:
	// Authorization: Bearer.
	ExportTokenFile string
	// ExportSecretFile is a file with the secret that webhook+ signs with: whsec_
	// and base64, or at least 24 bytes.
	ExportSecretFile string
	// ExportRedact lists further endings of names whose values are secrets, with
	// commas between.
	ExportRedact string
}

// The defaults of the configuration.
const (
	defaultListen     = "127.0.0.1:9477"
	defaultRequests   = "auto"
	defaultRetention  = 30 * 24 * time.Hour
	defaultSize       = 2 << 30
	defaultRecordings = 10 << 30
	defaultSpool      = 1 << 30
	defaultQueue      = 256 << 20
	defaultHold       = 2500 * time.Millisecond
	configVersion     = 1
)

func defaultConfig(env *terminal.Env) config {
	return config{
		State: stateDir(env), Listen: defaultListen, ClientRequests: defaultRequests, Gate: kernel.GateDir,
		AdmissionHold: defaultHold, RetentionAge: defaultRetention, RetentionSize: defaultSize,
		RecordingAge: defaultRetention, RecordingSize: defaultRecordings,
		RecordingMode: recordStrict, RecordingInput: string(recording.InputNone), NodeSpool: defaultSpool,
		Rules: rulesShipped, ExportRecords: "all", ExportFrom: "now", ExportQueue: defaultQueue,
	}
}

// The modes of recording.
const (
	recordStrict  = "strict"
	recordLenient = "lenient"
)

// stateDir returns where state is kept when nothing else is said:
// /var/lib/sallyport for root, the user's own state directory otherwise.
func stateDir(env *terminal.Env) string {
	if os.Geteuid() == 0 {
		return "/var/lib/sallyport"
	}
	if dir := env.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sallyport")
	}
	home := env.Getenv("HOME")
	if home == "" {
		home, _ = os.UserHomeDir()
	}
	return filepath.Join(home, ".local", "state", "sallyport")
}

// setting is one value that can be configured: its key in the file and how it
// is set from text. The flags use the same setters, so a value is checked alike
// wherever it comes from.
type setting struct {
	key string
	set func(c *config, value string) error
}

var settings = []setting{
	{"version", func(_ *config, v string) error {
		if v != strconv.Itoa(configVersion) {
			return fmt.Errorf("this sallyport reads version %d", configVersion)
		}
		return nil
	}},
	{"state", func(c *config, v string) error { return setPath(&c.State, v) }},
	{"listen", func(c *config, v string) error {
		c.Listen = v
		if v == "off" {
			return nil
		}
		return loopback.Check(v)
	}},
	{"docker", func(c *config, v string) error {
		c.Docker = v
		return checkDocker(v)
	}},
	{"containerd", func(c *config, v string) error { return setPath(&c.Containerd, strings.TrimPrefix(v, "unix://")) }},
	{"gate", func(c *config, v string) error { return setPath(&c.Gate, v) }},
	{"client_requests", func(c *config, v string) error {
		c.ClientRequests = v
		if !slices.Contains([]string{"auto", "always", "off"}, v) {
			return errors.New("want auto, always or off")
		}
		return nil
	}},
	{"audit.log", func(c *config, v string) error { return setPath(&c.AuditLog, v) }},
	{"audit.webhook", func(c *config, v string) error {
		c.AuditWebhook = v
		_, port, err := net.SplitHostPort(v)
		if err == nil && port == "" {
			err = errors.New("want host:port")
		}
		return err
	}},
	{"audit.cert", func(c *config, v string) error { return setPath(&c.AuditCert, v) }},
	{"audit.key", func(c *config, v string) error { return setPath(&c.AuditKey, v) }},
	{"audit.client_ca", func(c *config, v string) error { return setPath(&c.AuditClientCA, v) }},
	{"audit.token_file", func(c *config, v string) error { return setPath(&c.AuditTokenFile, v) }},
	{"admission.listen", func(c *config, v string) error {
		c.AdmissionListen = v
		_, _, err := net.SplitHostPort(v)
		return err
	}},
	{"admission.names", func(c *config, v string) error { c.AdmissionNames = v; return nil }},
	{"admission.cert", func(c *config, v string) error { return setPath(&c.AdmissionCert, v) }},
	{"admission.key", func(c *config, v string) error { return setPath(&c.AdmissionKey, v) }},
	{"admission.client_ca", func(c *config, v string) error { return setPath(&c.AdmissionClientCA, v) }},
	{"admission.hold", func(c *config, v string) (err error) {
		c.AdmissionHold, err = time.ParseDuration(v)
		if err != nil || c.AdmissionHold < 0 || c.AdmissionHold >= admission.Timeout {
			return fmt.Errorf("want a duration below %s, which is what the API server waits for", admission.Timeout)
		}
		return nil
	}},
	{"kube.kubeconfig", func(c *config, v string) error { return setPath(&c.KubeKubeconfig, v) }},
	{"kube.node", func(c *config, v string) error { c.KubeNode = v; return nil }},
	{"rules", func(c *config, v string) error { return setPath(&c.Rules, v) }},
	{"retention.age", func(c *config, v string) (err error) {
		c.RetentionAge, err = parseAge(v)
		return err
	}},
	{"retention.size", func(c *config, v string) (err error) {
		c.RetentionSize, err = parseSize(v)
		return err
	}},
	{"recording.age", func(c *config, v string) (err error) {
		c.RecordingAge, err = parseAge(v)
		return err
	}},
	{"recording.size", func(c *config, v string) (err error) {
		c.RecordingSize, err = parseSize(v)
		return err
	}},
	{"recording.recipients", func(c *config, v string) error {
		c.RecordingRecipients = v
		_, err := recording.ParseRecipients(v)
		return err
	}},
	{"recording.mode", func(c *config, v string) error { return setWord(&c.RecordingMode, v, recordStrict, recordLenient) }},
	{"recording.input", func(c *config, v string) error {
		return setWord(&c.RecordingInput, v, string(recording.InputNone), string(recording.InputEchoed))
	}},
	{"node.collector", func(c *config, v string) error { return setAddress(&c.NodeCollector, v) }},
	{"node.cert", func(c *config, v string) error { return setPath(&c.NodeCert, v) }},
	{"node.key", func(c *config, v string) error { return setPath(&c.NodeKey, v) }},
	{"node.ca", func(c *config, v string) error { return setPath(&c.NodeCA, v) }},
	{"node.name", func(c *config, v string) error { c.NodeName = v; return nil }},
	{"node.spool", func(c *config, v string) (err error) {
		c.NodeSpool, err = parseSize(v)
		return err
	}},
	{"collect.listen", func(c *config, v string) error { return setAddress(&c.CollectListen, v) }},
	{"collect.cert", func(c *config, v string) error { return setPath(&c.CollectCert, v) }},
	{"collect.key", func(c *config, v string) error { return setPath(&c.CollectKey, v) }},
	{"collect.ca", func(c *config, v string) error { return setPath(&c.CollectCA, v) }},
	{"export.to", func(c *config, v string) error {
		c.ExportTo = v
		for _, to := range strings.Fields(v) {
			if _, err := parseExport(to); err != nil {
				return err
			}
		}
		return nil
	}},
	{"export.records", func(c *config, v string) error { return setWord(&c.ExportRecords, v, "all", "findings") }},
	{"export.from", func(c *config, v string) error { return setWord(&c.ExportFrom, v, "now", "beginning") }},
	{"export.queue", func(c *config, v string) (err error) {
		c.ExportQueue, err = parseSize(v)
		return err
	}},
	{"export.ca", func(c *config, v string) error { return setPath(&c.ExportCA, v) }},
	{"export.cert", func(c *config, v string) error { return setPath(&c.ExportCert, v) }},
	{"export.key", func(c *config, v string) error { return setPath(&c.ExportKey, v) }},
	{"export.token_file", func(c *config, v string) error { return setPath(&c.ExportTokenFile, v) }},
	{"export.secret_file", func(c *config, v string) error { return setPath(&c.ExportSecretFile, v) }},
	{"export.redact", func(c *config, v string) error { c.ExportRedact = v; return nil }},
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

// configMax bounds the configuration file.
const configMax = 1 << 20

// load reads a configuration file over c. Errors name file, line and key.
func (c *config) load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, configMax+1))
	if err != nil {
		return err
	}
	if len(data) > configMax {
		return fmt.Errorf("%s: more than %d bytes", file, configMax)
	}
	return c.parse(file, data)
}

func (c *config) parse(file string, data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil // comments only
	}
	return c.apply(file, "", doc.Content[0], map[string]int{})
}

// apply sets what a mapping says. prefix is the key of the mapping itself.
func (c *config) apply(file, prefix string, m *yaml.Node, seen map[string]int) error {
	if m.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: %s: want keys with values", file, m.Line, strings.TrimSuffix(prefix, "."))
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		key := prefix + k.Value
		if line, twice := seen[key]; twice {
			return fmt.Errorf("%s:%d: %s: already set in line %d", file, k.Line, key, line)
		}
		seen[key] = k.Line
		if isSection(key) {
			if err := c.apply(file, key+".", v, seen); err != nil {
				return err
			}
			continue
		}
		s := findSetting(key)
		if s == nil {
			return &unknownKey{file: file, line: k.Line, key: key}
		}
		if v.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s:%d: %s: want one value", file, v.Line, key)
		}
		if err := s.set(c, v.Value); err != nil {
			return fmt.Errorf("%s:%d: %s: %q: %w", file, v.Line, key, v.Value, err)
		}
	}
	return nil
}

func isSection(key string) bool {
	return slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
}

func findSetting(key string) *setting {
	for i := range settings {
		if settings[i].key == key {
			return &settings[i]
		}
	}
	return nil
}

type unknownKey struct {
	file string
	line int
	key  string
}

// Error implements error.
func (e *unknownKey) Error() string {
	return fmt.Sprintf("%s:%d: %s: unknown key", e.file, e.line, e.key)
}

// Hint lists what is known.
func (e *unknownKey) Hint() string {
	var keys []string
	for _, s := range settings {
		keys = append(keys, s.key)
	}
	return "the keys are " + strings.Join(keys, ", ")
}
