package guard

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/terminal"
	runtimedoor "github.com/sallyport/sallyport/internal/containerd/door"
	"github.com/sallyport/sallyport/internal/core/event"
	dockerdoor "github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/kernel"
)

// runtimeSocket is where sallyport-runtime asks when nobody says otherwise.
const runtimeSocket = "unix:///run/sallyport/runtime.sock"

func newGuardRuntime(env *terminal.Env) *cobra.Command {
	c := settings{door: listener{flag: "--listen"}, kind: atTheRuntime}
	cmd := &cobra.Command{
		Use:   "runtime --rules PATH",
		Short: "Stand in front of the container runtime, without Docker",
		Long: `Stand in front of the container runtime, where there is no Docker: sallyport-runtime,
which dockerd or containerd run in the place of runc, asks at --listen before a
command begins in a container, whoever had it begin: ctr, a client of CRI, the
kubelet, somebody by hand.

What a container is, the runtime's own files tell. Who asked is known only of those
who call the runtime by hand; of all others the actor is unknown. Kubernetes' own
commands come this way, too (session.channel == "RT-CRI").

With Docker say --runtime to sallyport guard docker or docker-authz instead: then
what they let through is not judged twice, and all else is.`,
		Args: cobra.NoArgs,
		Example: `  sudo sallyport guard runtime --rules /etc/sallyport/rules
  sudo sallyport guard runtime --rules /etc/sallyport/rules --enforce`,
		RunE: func(cmd *cobra.Command, _ []string) error { return guardRuntime(cmd.Context(), env, c) },
	}
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", runtimeSocket, "answer sallyport-runtime at `ADDR`: unix:///path, or systemd for the socket that it hands on")
	c.flags(f)
	c.tellFlag(f, env)
	return cmd
}

func guardRuntime(ctx context.Context, env *terminal.Env, c settings) error {
	g, err := newGuarding(env, &c)
	if err != nil {
		return err
	}
	door := g.runtimeDoor(nil)
	return g.serve(ctx, door.Serve, func() string { return runtimeDone(door) })
}

// runtimeFlag adds the flag of guards that may have the door at the runtime besides.
func (c *settings) runtimeFlag(f *pflag.FlagSet) {
	c.runtimeDoor.flag = "--runtime"
	f.StringVar(&c.atRuntime, "runtime", "", "answer sallyport-runtime, too, at `ADDR`: "+runtimeSocket)
}

// runtimeDoor returns the door at the runtime. known is nil where there is no Docker.
func (g *guarding) runtimeDoor(known *dockerdoor.Known) *runtimedoor.Door {
	opt := runtimedoor.Options{Judge: g.judge, Peer: kernel.SocketPeer, User: g.names.name, Logger: g.log}
	if g.telling != nil {
		opt.Observe = g.telling.Tell
	}
	if known != nil {
		opt.Docker = func(ctx context.Context, id event.ContainerID) (*runtimedoor.Docker, error) {
			target, health, err := known.Container(ctx, id)
			if target == nil {
				return nil, err
			}
			return &runtimedoor.Docker{Target: *target, Health: health}, err
		}
	}
	return runtimedoor.New(opt)
}

// besideRuntime adds the door at the runtime where --runtime says so.
func (g *guarding) besideRuntime(known *dockerdoor.Known) {
	if g.conf.atRuntime == "" {
		return
	}
	g.runtime = g.runtimeDoor(known)
	g.beside = append(g.beside, func(ctx context.Context) error { known.Learn(ctx); return nil })
}

func runtimeDone(d *runtimedoor.Door) string {
	s := d.Stats()
	return fmt.Sprintf("%d calls of the runtime, %d denied, %d misread", s.Calls.Load(), s.Denied.Load(), s.Misread.Load())
}
