// Package up is sallyport up: it wires the witnesses of this host or of nodes, rules, store,
// recordings and exports to the engine, and runs it.
package up

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/cli/build"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/host"
	"github.com/sallyport/sallyport/internal/cli/modest"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/lib/loopback"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/lib/wording"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/internal/watch"
)

// New returns sallyport up.
func New(env *terminal.Env) *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Watch this host and print each session live",
		Long: `Watch this host until Ctrl-C: every command that enters a container is kept
in the state directory and printed as soon as it is safely there.

Without root or Docker it watches what it can and says what is missing.

The configuration file is YAML; flags win over it. Its keys, with their
defaults:

  version: 1
  state: /var/lib/sallyport      # $XDG_STATE_HOME/sallyport for other users than root
  listen: 127.0.0.1:9477         # /healthz, /status, /metrics; "off" for none
  docker: unix:///run/docker.sock
  containerd: /run/containerd/containerd.sock
  crio: /run/crio/crio.sock
  client_requests: auto          # auto, always, off
  audit:
    log: /var/log/kubernetes/audit.log
    webhook: 10.0.0.5:9478       # sallyport kube audit-webhook says how
  admission:                     # none by default
    listen: 0.0.0.0:9443
    names: hook.example.com,192.0.2.7
    client_ca: /etc/sallyport/apiserver-ca.crt
  kube:
    kubeconfig: /etc/sallyport/kubeconfig
  rules: /etc/sallyport/rules    # or shipped, the default, or none
  retention:
    age: 30d
    size: 2GiB
  recording:
    age: 30d
    size: 10GiB
    recipients: age1… age1…      # who may read them; none: they are in clear
    mode: strict                 # strict, lenient; mode and input are for sallyport guard docker
    input: none                  # none, echoed
  node: {collector: "HOST:PORT", cert: FILE, key: FILE, ca: FILE, spool: 1GiB}
  collect: {listen: "HOST:PORT", cert: FILE, key: FILE, ca: FILE}
  export:                        # none by default; see docs/guide/exports.md
    to: falco+http://127.0.0.1:2801/ syslog+tls://siem.example.com:6514
    records: all                 # all, findings
    queue: 256MiB

What the rules find is stored with the sessions and printed. Without --rules they
are those of the shipped pack, which alert and never deny. SIGHUP loads them
again, and broken ones leave those at work that are. With --json a finding is an
object of the one key "finding".

On several machines, each node runs with --node and sends what its witnesses
see to one collector, which runs with --collect, makes the sessions and keeps
them. Both show certificates of one authority; a node's name is that in its
certificate. What the collector does not have yet waits on the node's disk.`,
		Args: cobra.NoArgs,
		Example: `  sudo sallyport up
  sudo sallyport up --json >> sessions.jsonl
  sudo sallyport up --docker tcp://127.0.0.1:2375 --client-requests always
  curl http://127.0.0.1:9477/status
  sudo sallyport up --collect :7443 --collect-cert collector.crt --collect-key collector.key --collect-ca ca.crt
  sudo sallyport up --node HOST:7443 --node-cert node.crt --node-key node.key --collector-ca ca.crt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(env, file, cmd.Flags())
			if err != nil {
				return err
			}
			return run(cmd.Context(), env, conf, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "read the configuration from `FILE`")
	config.WatchFlags(f)
	f.String("state", "", "keep everything in `DIR` (default "+statedir.Default(env)+")")
	f.String("listen", "", "serve status and metrics on loopback `ADDR`; port 0 takes a free one, \"off\" serves nothing (default "+config.DefaultListen+")")
	f.String("rules", "", "find by the rules in `PATH`, a file or directory (see sallyport rules); shipped for those in the program, or none (default shipped)")
	config.RoleFlags(f)
	config.ExportFlags(f)
	f.BoolVar(&asJSON, "json", false, "print each stored revision of a session as one JSON object")
	return cmd
}

func run(ctx context.Context, env *terminal.Env, conf config.Config, asJSON bool) error {
	signal.Ignore(syscall.SIGPIPE) // whoever reads the output may go; watching goes on
	if err := conf.CheckRole(); err != nil {
		return err
	}
	if conf.CollectListen == "" { // one host's events need no more than one CPU
		defer runtime.KeepAlive(modest.Be())
	}
	log := env.Logger(slog.LevelWarn)
	if conf.NodeCollector != "" {
		conf.Rules = config.RulesNone // its collector has them
	}
	rules, err := newRuling(conf.Rules, log)
	if err != nil {
		return err
	}
	h, err := look(env, conf, log)
	if err != nil {
		return err
	}
	if conf.NodeCollector != "" {
		return upNode(ctx, env, conf, h, log)
	}
	st, err := statedir.Store(conf.State)
	if err != nil {
		return err
	}
	defer st.Close()
	out := view.NewLive(env, asJSON)
	recordings, err := statedir.OpenRecordings(ctx, conf.State, conf.RecordingRecipients, st, log)
	if err != nil {
		return err
	}
	defer recordings.Close()
	kept := keeper{
		store: st, retention: store.Retention{Age: conf.RetentionAge, Bytes: conf.RetentionSize}, rules: rules,
		recordings: recordings, keep: conf.Recordings(),
	}
	opt, err := watchOptions(ctx, env, conf, h, kept, log)
	if err != nil {
		return err
	}
	exports, err := newExports(ctx, conf, st.Reader, env.Logger(slog.LevelInfo))
	if err != nil {
		return err
	}
	opt.Deliver, opt.Exports = out.Revisions, exports.status
	engine := watch.New(opt)
	group, ctx := errgroup.WithContext(ctx)
	address, err := serveStatus(ctx, group, engine, conf)
	if err != nil {
		return err
	}
	if rules != nil {
		group.Go(func() error { return rules.run(ctx, out.Findings) })
	}
	banner(env, h, conf, rules, address)
	exports.run(ctx, group)
	group.Go(func() error { return engine.Run(ctx) })
	err = group.Wait()
	fmt.Fprintln(env.Stderr, goodbye(engine.Status()))
	return err
}

// look finds out what can be seen of this host, and says what cannot. Seeing
// nothing is an error, unless there are nodes to collect from.
func look(env *terminal.Env, conf config.Config, log *slog.Logger) (*host.Host, error) {
	h := host.Find(env, conf, log)
	missing, all := h.Missing()
	for _, line := range missing {
		fmt.Fprintln(env.Stderr, "Missing: "+line)
	}
	if all && conf.CollectListen == "" {
		return nil, exit.Fail(exit.Usage, "sallyport doctor", "nothing can be watched here")
	}
	return h, nil
}

// watchOptions wires the witnesses of the host, of the API server and of nodes to
// what keeps their sessions.
func watchOptions(ctx context.Context, env *terminal.Env, conf config.Config, h *host.Host, kept keeper, log *slog.Logger) (watch.Options, error) {
	opt := watch.Options{
		Logger: log, Keeper: kept,
		Sensor: h.SensorStatus, Pods: h.PodStatus, Admission: h.AdmissionStatus, StoreSize: func() int64 { return statedir.Size(conf.State) },
	}
	if rules := kept.rules; rules != nil {
		if err := rules.remember(ctx, kept.store); err != nil {
			return opt, err
		}
		opt.Rules = rules.state
	}
	var others []watch.Named
	audits, err := host.Audit(conf, log, true)
	if err != nil {
		return opt, err
	}
	opt.Counters = h.Counters(audits)
	nodes, err := newCollector(conf, log)
	if err != nil {
		return opt, err
	}
	if nodes != nil {
		addr, err := nodes.Listen(ctx)
		if err != nil {
			return opt, exit.Fail(exit.Usage, "another address with --collect", "collect: %w", err)
		}
		fmt.Fprintf(env.Stderr, "Nodes are awaited at %s.\n", addr)
		opt.Keeper, opt.Correlate.Nodes = collecting{kept, nodes}, nodes.Nodes()
		opt.Nodes = func() []watch.NodeStatus { return nodeStatus(nodes) }
		others = append(others, watch.Named{Name: event.WitnessNodes, Witness: nodes})
	}
	opt.Witnesses = h.Witnesses(audits, append(others, host.Guards(conf.State, log), host.Gate(conf.Gate))...)
	return opt, nil
}

// serveStatus starts the HTTP server and writes its address into the state
// directory. It returns "" when none is wanted.
func serveStatus(ctx context.Context, group *errgroup.Group, engine *watch.Engine, conf config.Config) (string, error) {
	file := filepath.Join(conf.State, statedir.Address)
	if conf.Listen == "off" {
		_ = os.Remove(file)
		return "", nil
	}
	l, err := loopback.Listen(ctx, conf.Listen)
	if err != nil {
		return "", exit.Fail(exit.Usage, "another address with --listen, or --listen off", "%w", err)
	}
	address := l.Addr().String()
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		_ = l.Close()
		return "", fmt.Errorf("write address: %w", err)
	}
	group.Go(func() error {
		defer os.Remove(file)
		return loopback.Serve(ctx, l, engine.Handler(build.This().Version))
	})
	return address, nil
}

func banner(env *terminal.Env, h *host.Host, conf config.Config, rules *ruling, address string) {
	say := func(format string, args ...any) { fmt.Fprintf(env.Stderr, format+"\n", args...) }
	say("Watching. Kernel: level %s, client requests %s. Docker: %s (%s).",
		h.Kernels.Level(), conf.ClientRequests, printable.Text(h.Docker.Address), h.Docker.Said)
	if from := host.AuditFrom(conf); from != "" {
		say("Kubernetes audit: %s.", printable.Text(from))
	}
	if conf.NodeCollector == "" {
		say("Sessions are kept in %s: sallyport sessions%s", printable.Text(conf.State), statedir.Flag(env, conf.State))
	}
	if rules != nil {
		say("Rules: %s; what they find: sallyport findings%s", rules.said(), statedir.Flag(env, conf.State))
	}
	if address != "" {
		say("Status: http://%s/status  Metrics: http://%[1]s/metrics", address)
	}
	say("Stop with Ctrl-C.")
}

func goodbye(s watch.Status) string {
	line := fmt.Sprintf("Stopped after %s: %s of sessions stored.", wording.Duration(time.Since(s.Started)), wording.Plural(int(s.Store.Revisions), "revision"))
	for _, l := range s.Losses {
		if l.Count > 0 {
			line += fmt.Sprintf(" Lost: %d (%s, %s).", l.Count, l.Witness, l.Reason)
		}
	}
	return line
}
