// Package config is what sallyport up works by: the configuration file, and the flags
// over it. Other commands that look at a host take parts of it.
package config

import (
	"time"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/recording"
)

// Config is what `up` works by: the configuration file, then the flags over it.
// Every key is optional.
type Config struct {
	// State is the directory that keeps sessions, observations and the ledger.
	State string
	// Listen is the loopback address of /healthz, /status and /metrics; port 0
	// takes a free one, "off" serves nothing.
	Listen string
	// Docker is the daemon's address: a socket path, unix:///path or tcp://host:port.
	Docker string
	// Containerd is the path of containerd's socket.
	Containerd string
	// CRIO is the path of CRI-O's socket.
	CRIO string
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
	DefaultListen     = "127.0.0.1:9477"
	defaultRequests   = "auto"
	defaultRetention  = 30 * 24 * time.Hour
	defaultSize       = 2 << 30
	defaultRecordings = 10 << 30
	defaultSpool      = 1 << 30
	defaultQueue      = 256 << 20
	defaultHold       = 2500 * time.Millisecond
	Version           = 1
)

// Default is the configuration where nothing is said.
func Default(env *terminal.Env) Config {
	return Config{
		State: statedir.Default(env), Listen: DefaultListen, ClientRequests: defaultRequests, Gate: kernel.GateDir,
		AdmissionHold: defaultHold, RetentionAge: defaultRetention, RetentionSize: defaultSize,
		RecordingAge: defaultRetention, RecordingSize: defaultRecordings,
		RecordingMode: recordStrict, RecordingInput: string(recording.InputNone), NodeSpool: defaultSpool,
		Rules: RulesShipped, ExportRecords: "all", ExportFrom: "now", ExportQueue: defaultQueue,
	}
}

// What may be given in place of a path of rules: the pack in the program, or
// none.
const (
	RulesShipped = "shipped"
	RulesNone    = "none"
)

// The modes of recording.
const (
	recordStrict  = "strict"
	RecordLenient = "lenient"
)

// Recordings is what retention leaves of recordings.
func (c *Config) Recordings() recording.Retention {
	return recording.Retention{Age: c.RecordingAge, Bytes: c.RecordingSize}
}

// CheckRole reports why the configuration's part among several machines cannot
// be played.
func (c Config) CheckRole() error {
	if c.NodeCollector != "" && c.Rules != RulesShipped && c.Rules != RulesNone {
		return exit.Fail(exit.Usage, "give --rules to the collector", "rules: a node keeps no sessions")
	}
	if c.NodeCollector != "" && c.ExportTo != "" {
		return exit.Fail(exit.Usage, "give --export to the collector", "export: a node keeps no sessions")
	}
	const hint = "certificates for a trial: sallyport node certs --help"
	switch {
	case c.NodeCollector != "" && c.CollectListen != "":
		return exit.Fail(exit.Usage, "run two of them, each with a --state of its own", "--node and --collect: one program is either")
	case c.NodeCollector != "" && (c.NodeCert == "" || c.NodeKey == "" || c.NodeCA == ""):
		return exit.Fail(exit.Usage, hint, "--node needs --node-cert, --node-key and --collector-ca")
	case c.NodeCollector != "" && (c.SeesRequests() || c.KubeKubeconfig != ""):
		return exit.Fail(exit.Usage, "give what concerns the API server to the collector: it believes no node in that",
			"--node goes with none of --audit-log, --audit-webhook, --admission and --kubeconfig")
	case c.CollectListen != "" && (c.CollectCert == "" || c.CollectKey == "" || c.CollectCA == ""):
		return exit.Fail(exit.Usage, hint, "--collect needs --collect-cert, --collect-key and --collect-ca")
	}
	return nil
}

// SeesRequests reports whether requests to an API server are to be seen here: by
// its audit or by our webhook.
func (c Config) SeesRequests() bool {
	return c.AuditLog != "" || c.AuditWebhook != "" || c.AdmissionListen != ""
}
