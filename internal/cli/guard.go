package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/bus/tell"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/modest"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	runtimedoor "github.com/sallyport/sallyport/internal/containerd/door"
	"github.com/sallyport/sallyport/internal/core/effect"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	dockerdoor "github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

func newGuard(env *terminal.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Decide about commands before they run",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGuardDocker(env), newGuardDockerAuthz(env), newGuardRuntime(env), newGuardGate(env))
	return cmd
}

// guardConfig is what the command line of `guard docker` says.
type guardConfig struct {
	listen, to, rules string
	enforce, asJSON   bool
	door              listener
	// record is the state directory of recordings, "" for none; settings say how
	// they are made.
	record    string
	settings  config.Config
	approvals approvalConfig
	// tell is the state directory of the sallyport up to tell, "off" for none.
	tell string
	kind guardKind
	// atRuntime is where the door at the runtime is besides, "" for nowhere.
	atRuntime   string
	runtimeDoor listener
}

// guardKind is where a guard stands.
type guardKind string

// The kinds of guard, as the commands are called.
const (
	guardsSocket  guardKind = "docker"
	guardsPlugin  guardKind = "docker-authz" // no stream passes, and who asks may be unknown
	guardsRuntime guardKind = "runtime"      // the same
)

// records reports whether streams pass, so that they can be recorded.
func (k guardKind) records() bool { return k == guardsSocket }

// flags adds the flags that every guard has.
func (c *guardConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.rules, "rules", "", "decide by the rules in `PATH`, a file or directory (see sallyport rules)")
	f.BoolVar(&c.enforce, "enforce", false, "stop what is not allowed, instead of only saying so")
	f.BoolVar(&c.asJSON, "json", false, "print each decision as one JSON object")
	c.approvals.flags(f)
}

// tellFlag adds the flag of guards that tell a sallyport up.
func (c *guardConfig) tellFlag(f *pflag.FlagSet, env *terminal.Env) {
	f.StringVar(&c.tell, "tell", statedir.Default(env), "tell the sallyport up that keeps `DIR` who asked for what, and what was decided; off for nobody")
}

func newGuardDocker(env *terminal.Env) *cobra.Command {
	c := guardConfig{door: listener{flag: "--listen"}, kind: guardsSocket}
	var file string
	recordings := recordingFlags()
	cmd := &cobra.Command{
		Use:   "docker --rules PATH",
		Short: "Stand in front of the Docker socket",
		Long: `Stand in front of the Docker socket: clients talk to --listen, and what the rules
allow goes on to --to. Whoever asks is known by the socket itself: user, login
user, program and container of the process; over TCP by his certificate.

Without --enforce nothing is stopped: it is only said what would be. With it,
whoever is refused is told why, and by which rule. Then, too, nothing that may
have several readings goes on, and what cannot be looked into (docker cp, a build,
plugins, the swarm, attaching by WebSocket, starting another's exec, a route that
nobody knows) only by a rule that asks for its session.channel.

What a rule wants a second person for (effect: approve) waits for one of
--approvers, who must be another than the one who asks: sallyport approvals lists
it, sallyport approve and sallyport deny answer. They talk to --control.

What rules with the effect record hold for is recorded with --record DIR: the
streams of exec and attach, and of docker cp that it took place. DIR is a state
directory of the guard's own: sallyport recordings, play and verify read it with
--state DIR. With --enforce and without --record such rules are refused.

SIGHUP loads the rules again; broken ones leave those at work that are. Each
decision is a line of the output, with --json an object; what only reads and is
allowed is none. docs/guide/guard-docker.md says how to make clients use it, and
how to keep them from going round it.`,
		Args: cobra.NoArgs,
		Example: `  sudo sallyport guard docker --rules /etc/sallyport/rules
  sudo sallyport guard docker --rules prod.yaml --enforce --group docker
  sudo sallyport guard docker --rules prod.yaml --enforce --approvers group:oncall
  sudo sallyport guard docker --rules prod.yaml --enforce --record /var/lib/sallyport-guard
  DOCKER_HOST=unix:///run/sallyport/docker.sock docker ps`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.settings, err = config.Load(env, file, recordings); err != nil {
				return err
			}
			return guardDocker(cmd.Context(), env, c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", "unix:///run/sallyport/docker.sock", "serve clients at `ADDR`: unix:///path, tcp://host:port with the --tls flags, or systemd for the socket that it hands on")
	f.StringVar(&c.to, "to", "unix:///var/run/docker.sock", "the Docker daemon's `ADDR`: unix:///path or tcp://host:port")
	f.StringVar(&c.record, "record", "", "record into state directory `DIR`, which must not be that of sallyport up")
	f.StringVar(&file, "config", "", "read recording.* from `FILE`, a configuration as of sallyport up")
	f.AddFlagSet(recordings)
	c.tellFlag(f, env)
	f.StringVar(&c.door.group, "group", "", "the group that may use the socket, `NAME` or number (default: that of root)")
	f.StringVar(&c.door.cert, "tls-cert", "", "certificate that TCP clients are shown, PEM in `FILE`")
	f.StringVar(&c.door.key, "tls-key", "", "its key, PEM in `FILE`")
	f.StringVar(&c.door.clientCA, "tls-client-ca", "", "authorities of the certificates that TCP clients must have, PEM in `FILE`")
	c.flags(f)
	c.runtimeFlag(f)
	c.approvals.waitFlag(f)
	return cmd
}

func guardDocker(ctx context.Context, env *terminal.Env, c guardConfig) (err error) {
	g, err := newGuarding(env, &c)
	if err != nil {
		return err
	}
	opt := dockerdoor.Options{
		Network: g.network, Address: g.address, Judge: g.judge, Peer: kernel.SocketPeer, User: g.names.name, Logger: g.log,
		Real: realPath(g.network),
	}
	if g.telling != nil {
		opt.Observe = g.telling.Tell
	}
	if c.record != "" {
		records, failed := openGuardRecords(ctx, c.settings, c.record, c.enforce, g.log)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, records.close()) }()
		opt.Recorder = records
		g.beside = append(g.beside, records.prune)
	}
	proxy := dockerdoor.New(opt)
	g.besideRuntime(proxy.Known())
	return g.serve(ctx, proxy.Serve, func() string {
		s := proxy.Stats()
		return fmt.Sprintf("%d requests, %d denied, %d misread, %d streams, %d failed",
			s.Requests.Load(), s.Denied.Load(), s.Misread.Load(), s.Streams.Load(), s.Failed.Load())
	})
}

// guarding is a guard that begins: what decides, and who is told.
type guarding struct {
	env              *terminal.Env
	conf             *guardConfig
	rules            *policy.Set
	network, address string // of the daemon
	log              *slog.Logger
	names            *userNames
	second           *approving
	judge            *guard.Guard
	// telling tells the sallyport up of this host, runtime is the door at the runtime
	// besides; nil for none.
	telling *tell.Teller
	runtime *runtimedoor.Door
	// beside is what is to go on beside the door.
	beside []func(context.Context) error
}

// newGuarding reads what the command line names. It listens nowhere yet.
func newGuarding(env *terminal.Env, c *guardConfig) (*guarding, error) {
	signal.Ignore(syscall.SIGPIPE)
	modest.UseOneCPU() // enough for 300 MB a second, and a short request takes a third less of it
	if c.rules == "" {
		return nil, exit.Fail(exit.Usage, "name a file with --rules; docs/guide/guard-docker.md has one to begin with", "guard %s: no rules", c.kind)
	}
	g := &guarding{env: env, conf: c, log: env.Logger(slog.LevelWarn), names: new(userNames)}
	var err error
	if g.rules, err = c.load(); err != nil {
		return nil, err
	}
	if c.kind != guardsRuntime {
		if g.network, g.address, err = daemonAt(c.to); err != nil {
			return nil, err
		}
	}
	if g.second, err = c.approvals.prepare(g.log); err != nil {
		return nil, err
	}
	out := &decisions{out: env.Stdout, render: view.Of(env), asJSON: c.asJSON, records: c.record != ""}
	g.judge = guard.New(guard.Options{
		Rules: g.rules, Enforce: c.enforce, Nameless: c.kind != guardsSocket, Approvers: g.second.approvers, Wait: g.second.wait,
		Tell: func(r guard.Record) {
			out.tell(r)
			g.second.notices(r)
		},
	})
	if g.telling = c.telling(g.log); g.telling != nil {
		g.beside = append(g.beside, g.telling.Run)
	}
	return g, nil
}

// serve listens, says what is guarded, and has the door serve until ctx ends, and
// all that is to go on beside it. At the end it says what was done.
func (g *guarding) serve(ctx context.Context, door func(context.Context, net.Listener) error, done func() string) error {
	l, err := g.conf.door.listen(ctx, g.conf.listen, g.env.Getenv)
	if err != nil {
		return err
	}
	defer g.conf.door.close()
	group, ctx := errgroup.WithContext(ctx)
	if g.runtime != nil {
		at := &g.conf.runtimeDoor
		asked, err := at.listen(ctx, g.conf.atRuntime, g.env.Getenv)
		if err != nil {
			return err
		}
		defer at.close()
		group.Go(func() error { return g.runtime.Serve(ctx, asked) })
	}
	if g.conf.enforce {
		if err := g.second.run(ctx, group, g.judge, g.names.name, g.log); err != nil {
			return err
		}
		defer g.second.stop()
	}
	g.say()
	group.Go(func() error { return door(ctx, l) })
	group.Go(func() error { return g.conf.reloading(ctx, g.judge, g.log) })
	for _, run := range g.beside {
		group.Go(func() error { return run(ctx) })
	}
	err = group.Wait()
	text := done()
	if g.runtime != nil {
		text += "; " + runtimeDone(g.runtime)
	}
	fmt.Fprintf(g.env.Stderr, "Stopped: %s.\n", text)
	return err
}

// telling returns what tells the sallyport up of this host; nil for none.
func (c *guardConfig) telling(log *slog.Logger) *tell.Teller {
	if c.tell == "off" || c.kind == guardsPlugin {
		return nil
	}
	return tell.NewTeller(filepath.Join(c.tell, statedir.Guards), log)
}

// say says what is guarded, and how.
func (g *guarding) say() {
	c := g.conf
	what := "Guarding " + printable.Text(c.to)
	switch c.kind {
	case guardsPlugin:
		what = "Answering the daemon of " + printable.Text(c.to)
	case guardsRuntime:
		what = "Answering sallyport-runtime"
	case guardsSocket:
	}
	fmt.Fprintf(g.env.Stderr, "%s at %s by %s: %d rules, %s when none decides.\n%s", what,
		printable.Text(c.door.said), printable.Text(c.rules), len(g.rules.Rules()), g.rules.Default(), c.mode(g.second, g.rules.Rules()))
	if g.runtime != nil {
		fmt.Fprintf(g.env.Stderr, "Answering sallyport-runtime at %s.\n", printable.Text(c.runtimeDoor.said))
	}
	if c.record != "" {
		how := c.settings.RecordingMode
		if !c.enforce {
			how = config.RecordLenient + ", since it only observes"
		}
		fmt.Fprintf(g.env.Stderr, "Recording (%s): sallyport recordings%s\n", how, statedir.Flag(g.env, c.record))
	}
	fmt.Fprintln(g.env.Stderr, "Stop with Ctrl-C.")
}

// load loads the rules. A guard that enforces does not take those that it would
// only keep in part.
func (c *guardConfig) load() (*policy.Set, error) {
	set, err := ruleset.Load([]string{c.rules})
	if err != nil {
		return nil, err
	}
	if ids := having(set.Rules(), effect.Record); c.enforce && c.record == "" && len(ids) > 0 {
		hint := "name a state directory for recordings with --record DIR, or take the effect record out of them"
		if !c.kind.records() {
			hint = "take the effect record out of them; sallyport guard docker records"
		}
		return nil, exit.Fail(exit.Usage, hint, "%s: nothing can be recorded", strings.Join(ids, ", "))
	}
	return set, nil
}

// mode says what the guard does with what is not allowed, and what it makes less of
// than rules ask.
func (c *guardConfig) mode(second *approving, rules []policy.Rule) string {
	said := "OBSERVING ONLY: nothing is stopped, whatever the rules say. Stop it with --enforce.\n"
	if c.enforce {
		said = "Enforcing: what is not allowed is stopped.\n"
		if ids := having(rules, effect.Approve); len(ids) > 0 && second.address == "off" {
			said += fmt.Sprintf("NOBODY CAN APPROVE with --control off: what %s asks approval for is denied.\n", strings.Join(ids, ", "))
		}
		said += second.text()
	}
	if ids := having(rules, effect.Record); !c.kind.records() && len(ids) > 0 {
		said += fmt.Sprintf("NOTHING IS RECORDED: what %s asks to record goes on without.\n", strings.Join(ids, ", "))
	} else if c.record == "" && len(ids) > 0 {
		said += fmt.Sprintf("NOTHING IS RECORDED without --record DIR: what %s asks to record goes on without.\n", strings.Join(ids, ", "))
	}
	return said
}

// having returns the rules that have an effect.
func having(rules []policy.Rule, e effect.Effect) (ids []string) {
	for _, r := range rules {
		if slices.Contains(r.Effects, e) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// reloading loads the rules again on SIGHUP. Broken ones change nothing.
func (c *guardConfig) reloading(ctx context.Context, judge *guard.Guard, log *slog.Logger) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
		}
		set, err := c.load()
		if err != nil {
			log.Error("rules could not be loaded again; the ones before stay at work", slog.Any("error", err))
			continue
		}
		judge.Use(set)
		log.Warn("rules loaded again", slog.Int("rules", len(set.Rules())))
	}
}

// daemonAt reads the address of a daemon.
func daemonAt(s string) (network, address string, err error) {
	if strings.HasPrefix(s, "/") {
		s = "unix://" + s
	}
	network, address, ok := strings.Cut(s, "://")
	if !ok || address == "" || network != "unix" && network != "tcp" {
		return "", "", exit.Fail(exit.Usage, "unix:///path or tcp://host:port", "address %q", s)
	}
	return network, address, nil
}

// realPath returns what says where paths of the daemon's host lead: nothing when
// that need not be this one.
func realPath(network string) func(string) string {
	if network != "unix" {
		return nil
	}
	return func(path string) string {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return ""
		}
		return real
	}
}

// userNames names users, and remembers for a while.
type userNames struct {
	mu    sync.Mutex
	names map[uint32]string // guarded by mu
	until time.Time         // guarded by mu
}

const userNamesKeep = time.Minute

func (u *userNames) name(uid uint32) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now := time.Now(); now.After(u.until) || len(u.names) > 1<<12 {
		u.names, u.until = map[uint32]string{}, now.Add(userNamesKeep)
	}
	if name, ok := u.names[uid]; ok {
		return name
	}
	name := ""
	if found, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		name = found.Username
	}
	u.names[uid] = name
	return name
}

// decisions prints what a guard decides.
type decisions struct {
	mu     sync.Mutex
	out    io.Writer
	render view.Renderer
	asJSON bool
	// records says that there is a place for recordings.
	records bool
	silent  bool // nobody reads
}

func (d *decisions) tell(r guard.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.silent {
		return
	}
	var err error
	if d.asJSON {
		err = terminal.WriteJSON(d.out, r)
	} else {
		_, err = fmt.Fprintln(d.out, d.line(&r))
	}
	d.silent = err != nil
}

// line is a decision for a person.
func (d *decisions) line(r *guard.Record) string {
	s := &r.Request
	parts := []string{
		r.Time.In(d.render.Zone).Format("15:04:05"), d.verdict(r), view.Actor(&s.Actor), string(s.Channel), view.Container(s), what(s),
	}
	switch {
	case r.Misread != "":
		parts = append(parts, "misread: "+printable.Text(r.Misread))
	case r.Decision.Rule != "":
		parts = append(parts, "rule "+r.Decision.Rule)
	}
	if d.records && r.Decision.Record && !r.Stopped {
		parts = append(parts, "record")
	}
	if r.Approval != nil {
		parts = append(parts, approvalText(d.render, r))
	}
	return strings.Join(nonEmpty(parts), "  ")
}

// what says in few words what a request asks for.
func what(s *session.Session) string {
	if text := view.Command(s); text != "" {
		return text
	}
	return "(" + string(s.Kind) + " " + printable.Text(s.Path) + ")"
}

func (d *decisions) verdict(r *guard.Record) string {
	text, look := string(r.Decision.Effect), terminal.Good
	if r.Approval != nil {
		text, look = string(r.Approval.State), approvalStyle(r.Approval.State)
	} else if r.Decision.Effect != effect.Allow {
		look = terminal.Bad
		if !r.Stopped {
			text, look = "would "+text, terminal.Warn
		}
	}
	return d.render.Palette.Paint(look, text)
}

func nonEmpty(list []string) []string {
	out := list[:0]
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
