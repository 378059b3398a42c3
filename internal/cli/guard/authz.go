package guard

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	dockerdoor "github.com/sallyport/sallyport/internal/docker/door"
)

func newGuardDockerAuthz(env *terminal.Env) *cobra.Command {
	c := settings{door: listener{flag: "--listen"}, kind: atPlugin}
	cmd := &cobra.Command{
		Use:   "docker-authz --rules PATH",
		Short: "Be the Docker daemon's authorization plugin",
		Long: `Be the Docker daemon's authorization plugin, where its socket cannot be moved: the
daemon asks at --listen before it carries out a request, whichever way it came, and
is answered by the same rules as of sallyport guard docker. The daemon has to be
told: "authorization-plugins": ["sallyport"] in its daemon.json, by the name of the
socket.

The daemon tells who asks only of clients by TLS, by the common name; of others the
actor is unknown. It keeps to itself bodies over 1 MiB, and goes on with what came:
with --enforce such requests are refused, and those that a reader might read
otherwise. There is an answer within 5 seconds. Nothing can be recorded.

What a rule wants a second person for is refused at once and may come again once it
is approved, if whoever asks is known: see sallyport approvals.

Without this process the daemon refuses everything (after 15 seconds a request);
docs/guide/guard-docker.md has systemd units, and says how to get in all the same.`,
		Args: cobra.NoArgs,
		Example: `  sudo sallyport guard docker-authz --rules /etc/sallyport/rules
  sudo sallyport guard docker-authz --rules /etc/sallyport/rules --enforce --listen systemd`,
		RunE: func(cmd *cobra.Command, _ []string) error { return guardDockerAuthz(cmd.Context(), env, c) },
	}
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", "unix:///run/docker/plugins/sallyport.sock", "answer the daemon at `ADDR`: unix:///run/docker/plugins/NAME.sock, or systemd for the socket that it hands on")
	f.StringVar(&c.to, "to", "unix:///var/run/docker.sock", "ask the Docker daemon at `ADDR` what a name stands for: unix:///path or tcp://host:port")
	c.tellFlag(f, env)
	c.flags(f)
	c.runtimeFlag(f)
	// No waitFlag, since nothing waits for an answer: the daemon waits for as long as it is kept waiting,
	// and does not say when a client leaves. What is approved then would be done for
	// nobody.
	return cmd
}

func guardDockerAuthz(ctx context.Context, env *terminal.Env, c settings) error {
	g, err := newGuarding(env, &c)
	if err != nil {
		return err
	}
	opt := dockerdoor.PluginOptions{
		Network: g.network, Address: g.address, Judge: g.judge, Enforce: c.enforce, Real: realPath(g.network), Logger: g.log,
	}
	if g.telling != nil {
		opt.Observe = g.telling.Tell
	}
	plugin := dockerdoor.NewPlugin(opt)
	g.beside = append(g.beside, plugin.Beside)
	g.besideRuntime(plugin.Known())
	return g.serve(ctx, plugin.Serve, func() string {
		s := plugin.Stats()
		return fmt.Sprintf("%d requests, %d denied, %d misread, %d late", s.Requests.Load(), s.Denied.Load(), s.Misread.Load(), s.Late.Load())
	})
}
