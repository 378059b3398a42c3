// Package guard is sallyport guard and what approvers use: the doors of Docker, its
// runtime and its sockets, with rules behind them.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/internal/bus/tell"
	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/modest"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	runtimedoor "github.com/sallyport/sallyport/internal/containerd/door"
	"github.com/sallyport/sallyport/internal/core/policy"
	dockerdoor "github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/guard"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

// New returns sallyport guard.
func New(env *terminal.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Decide about commands before they run",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGuardDocker(env), newGuardDockerAuthz(env), newGuardRuntime(env), newGuardGate(env))
	return cmd
}

func newGuardDocker(env *terminal.Env) *cobra.Command {
	c := settings{door: listener{flag: "--listen"}, kind: atSocket}
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
			if c.recording, err = config.Load(env, file, recordings); err != nil {
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

func guardDocker(ctx context.Context, env *terminal.Env, c settings) (err error) {
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
		records, failed := openGuardRecords(ctx, c.recording, c.record, c.enforce, g.log)
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
	conf             *settings
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
func newGuarding(env *terminal.Env, c *settings) (*guarding, error) {
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
	if c.kind != atTheRuntime {
		if g.network, g.address, err = daemonAt(c.to); err != nil {
			return nil, err
		}
	}
	if g.second, err = c.approvals.prepare(g.log); err != nil {
		return nil, err
	}
	out := &decisions{out: env.Stdout, render: view.Of(env), asJSON: c.asJSON, records: c.record != "", control: c.approvals.control}
	g.judge = guard.New(guard.Options{
		Rules: g.rules, Enforce: c.enforce, Nameless: c.kind != atSocket, Approvers: g.second.approvers, Wait: g.second.wait,
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

// say says what is guarded, and how.
func (g *guarding) say() {
	c := g.conf
	what := "Guarding " + printable.Text(c.to)
	switch c.kind {
	case atPlugin:
		what = "Answering the daemon of " + printable.Text(c.to)
	case atTheRuntime:
		what = "Answering sallyport-runtime"
	case atSocket:
	}
	fmt.Fprintf(g.env.Stderr, "%s at %s by %s: %d rules, %s when none decides.\n%s", what,
		printable.Text(c.door.said), printable.Text(c.rules), len(g.rules.Rules()), g.rules.Default(), c.mode(g.second, g.rules.Rules()))
	if c.kind == atSocket && !listens(g.network, g.address) {
		fmt.Fprintf(g.env.Stderr, "Nobody answers at %s: requests fail until the daemon does there.\n", printable.Text(c.to))
	}
	if g.runtime != nil {
		fmt.Fprintf(g.env.Stderr, "Answering sallyport-runtime at %s.\n", printable.Text(c.runtimeDoor.said))
	}
	if c.record != "" {
		how := c.recording.RecordingMode
		if !c.enforce {
			how = config.RecordLenient + ", since it only observes"
		}
		fmt.Fprintf(g.env.Stderr, "Recording (%s): sallyport recordings%s\n", how, statedir.Flag(g.env, c.record))
	}
	fmt.Fprintln(g.env.Stderr, "Stop with Ctrl-C.")
}

// listens reports whether somebody takes connections at address.
func listens(network, address string) bool {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
