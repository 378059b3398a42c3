package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/terminal"
	"github.com/sallyport/sallyport/internal/cli/view"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/lib/printable"
)

func newGuardGate(env *terminal.Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Let only the guard, and whom you name, connect to the runtimes' own sockets",
		Long: `Let only the guard, and whom you name, connect to the runtimes' own sockets: a
program in the kernel that knows a socket by what it is bound to, whatever its
file's mode is and whatever it is called or mounted as. It also holds for
containers that have the socket mounted.

It begins by observing; --enforce refuses. It works without any process and stays
until it is switched off or the host restarts. To break the glass without
Sallyport: rm -r ` + kernel.GateDir + `

docs/guide/guard-docker.md says what it does not stop.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&dir, "pins", kernel.GateDir, "the gate is kept in `DIR`, on a BPF file system")
	cmd.AddCommand(newGateOn(env, &dir), newGateOff(env, &dir), newGateStatus(env, &dir), newGateWatch(env, &dir))
	return cmd
}

// gateFlags are what the command line of `guard gate on` says.
type gateFlags struct {
	sockets, exes, uids, cgroups []string
	enforce                      bool
	at                           string
}

func newGateOn(env *terminal.Env, dir *string) *cobra.Command {
	var c gateFlags
	cmd := &cobra.Command{
		Use:   "on",
		Short: "Switch the gate on, in place of one that is on",
		Long: `Switch the gate on, in place of one that is on. It is on when it has refused a
connect to a socket of its own. Observe before you enforce: dockerd and kubelet are
clients of containerd, and need to be let through.

Root may always connect with this very executable: the guard does. Executables and
users that you name are let through on the host alone, since a container has its
own of both: it is let in by its cgroup. An executable is the file that the path
leads to now: after an update of it switch the gate on again.`,
		Args: cobra.NoArgs,
		Example: `  sudo sallyport guard gate on
  sudo sallyport guard gate watch
  sudo sallyport guard gate on --enforce --allow-exe /usr/bin/dockerd --allow-exe /usr/bin/kubelet`,
		RunE: func(*cobra.Command, []string) error { return gateOn(env, *dir, c) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&c.sockets, "socket", nil, "guard the socket at `PATH`; may be repeated (default: those at which Docker, containerd, CRI-O and Podman listen, where distributions have them)")
	f.StringArrayVar(&c.exes, "allow-exe", nil, "let through the executable `[USER:]PATH` when that user runs it, root when none is named; may be repeated")
	f.StringArrayVar(&c.uids, "allow-uid", nil, "let through the `USER`, a name or number; may be repeated")
	f.StringArrayVar(&c.cgroups, "allow-cgroup", nil, "let through the cgroup `PATH` and all below it; may be repeated")
	f.StringVar(&c.at, "at", "", "stand at `HOOK` and nowhere else: lsm or socket, which refuse by every name, or address (default: the first of these that the kernel has)")
	f.BoolVar(&c.enforce, "enforce", false, "refuse whoever is not let through, instead of only saying so")
	return cmd
}

func newGateOff(env *terminal.Env, dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "off", Short: "Switch the gate off", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			err := kernel.NewGate(*dir).Off()
			if errors.Is(err, kernel.ErrGateOff) {
				fmt.Fprintln(env.Stdout, "No gate was on.")
				return nil
			}
			if err == nil {
				fmt.Fprintln(env.Stdout, "The gate is off.")
			}
			return err
		},
	}
}

func newGateStatus(env *terminal.Env, dir *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say what the gate guards, whom it lets through, and what it saw", Args: cobra.NoArgs,
		Long: `Say what the gate guards, whom it lets through, and what it saw. The exit status is
1 when no gate is on.`,
		RunE: func(*cobra.Command, []string) error { return gateStatus(env, *dir, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func newGateWatch(env *terminal.Env, dir *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "watch", Short: "Print everybody whom the gate does not let through", Args: cobra.NoArgs,
		Long: `Print everybody whom the gate does not let through, a line each, until Ctrl-C. The
latest 250 or so that nobody has watched yet come first; what came when those had
filled their room is counted as lost by status.

A sighting goes to one reader. While sallyport up runs, it takes them too, and keeps
whom the gate refused as sessions: see sallyport sessions.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return gateWatch(cmd.Context(), env, *dir, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each as one JSON object")
	return cmd
}

// rawSockets are the sockets of runtimes where distributions have them.
var rawSockets = []string{
	"/run/docker.sock", "/run/containerd/containerd.sock", "/run/docker/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock",
	"/run/crio/crio.sock", "/run/podman/podman.sock",
}

func gateOn(env *terminal.Env, dir string, c gateFlags) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	status, err := kernel.NewGate(dir).On(config)
	if err != nil {
		return &exit.Error{Code: exit.Usage, Err: err}
	}
	describeGate(env, dir, &status)
	return nil
}

// config reads the flags.
func (c *gateFlags) config() (kernel.GateConfig, error) {
	out := kernel.GateConfig{Sockets: c.sockets, Enforce: c.enforce, Cgroups: c.cgroups, Hook: kernel.GateHook(c.at)}
	if gateStands[out.Hook] == "" && c.at != "" {
		return out, exit.Fail(exit.Usage, "lsm, socket or address", "--at %q", c.at)
	}
	var err error
	if out.Sockets, err = guardable(c.sockets); err != nil {
		return out, err
	}
	self, err := os.Executable()
	if err != nil {
		return out, fmt.Errorf("find own executable: %w", err)
	}
	out.Exes = []kernel.GateExe{{Path: self}}
	for _, s := range c.exes {
		name, path, named := strings.Cut(s, ":")
		if !named {
			name, path = "0", s
		}
		uid, err := userID(name)
		if err != nil {
			return out, exit.Fail(exit.Usage, "the name or number of a user before the colon", "--allow-exe %q: %w", s, err)
		}
		if !filepath.IsAbs(path) {
			return out, exit.Fail(exit.Usage, "give the whole path: --allow-exe /usr/bin/dockerd", "--allow-exe %q", s)
		}
		out.Exes = append(out.Exes, kernel.GateExe{Path: path, UID: uid})
	}
	for _, s := range c.uids {
		uid, err := userID(s)
		if err != nil {
			return out, exit.Fail(exit.Usage, "the name or number of a user", "--allow-uid %q: %w", s, err)
		}
		out.UIDs = append(out.UIDs, uid)
	}
	return out, nil
}

// guardable are the sockets to guard: those that are named, or the usual ones at
// which a runtime listens. A guard may listen at a usual one, and is to be reached.
func guardable(named []string) ([]string, error) {
	paths := named
	if len(named) == 0 {
		paths = rawSockets
	}
	listening, err := kernel.Listening(paths)
	if err != nil {
		return nil, &exit.Error{Code: exit.Usage, Err: err}
	}
	var list []string
	for _, path := range paths {
		pid, ok := listening[path]
		switch {
		case len(named) > 0 && ok && runsThis(pid):
			return nil, exit.Fail(exit.Usage, "name the one that it forwards to (--to)", "%s is the guard's own socket", path)
		case len(named) > 0, ok && !runsThis(pid):
			list = append(list, path)
		}
	}
	if len(list) == 0 {
		return nil, exit.Fail(exit.Usage, "name one with --socket", "no runtime listens where they usually do")
	}
	return list, nil
}

// runsThis reports whether a process runs the same executable as this one.
func runsThis(pid uint32) bool {
	own, err1 := os.Stat("/proc/self/exe")
	other, err2 := os.Stat("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/exe")
	return err1 == nil && err2 == nil && os.SameFile(own, other)
}

// gateStands says where a gate stands, and what that is worth.
var gateStands = map[kernel.GateHook]string{
	kernel.GateAtLSM:    "at the socket (lsm/unix_stream_connect): every name of it is refused.",
	kernel.GateAtSocket: "at the socket (fmod_ret/security_unix_stream_connect): every name of it is refused.",
	kernel.GateAtAddress: "at the address (cgroup/connect_unix), not at the socket:\n" +
		"who comes by a path that cannot be followed beforehand is killed when he arrives.",
}

func describeGate(env *terminal.Env, dir string, s *kernel.GateStatus) {
	w := env.Stdout
	mode := "ENFORCING: nobody else connects."
	if !s.Enforce {
		mode = "OBSERVING ONLY: nobody is refused. Refuse with --enforce."
	}
	fmt.Fprintf(w, "The gate stands %s\n%s\nGuarded:\n", gateStands[s.Stands], mode)
	for _, path := range s.Sockets {
		absent := ""
		for _, a := range s.Absent {
			if a == path {
				absent = "  (nobody listened there when the gate was switched on)"
			}
		}
		fmt.Fprintf(w, "  %s%s\n", printable.Text(path), absent)
	}
	fmt.Fprintln(w, "Let through:")
	names := new(userNames)
	for _, e := range s.Exes {
		fmt.Fprintf(w, "  %s, run by %s on the host\n", printable.Text(e.Path), uidName(names, e.UID))
	}
	for _, uid := range s.UIDs {
		fmt.Fprintf(w, "  %s on the host\n", uidName(names, uid))
	}
	for _, path := range s.Cgroups {
		fmt.Fprintf(w, "  what is in cgroup %s\n", printable.Text(path))
	}
	fmt.Fprintf(w, "It stays until: sallyport guard gate off%s, rm -r %s, or a restart.\n", pinsFlag(dir), printable.Text(dir))
}

// pinsFlag returns the flag that a command needs to find a gate.
func pinsFlag(dir string) string {
	if dir == kernel.GateDir {
		return ""
	}
	return " --pins " + printable.Command([]string{dir})
}

func uidName(names *userNames, uid uint32) string {
	if name := names.name(uid); name != "" {
		return printable.Text(name)
	}
	return "uid " + strconv.FormatUint(uint64(uid), 10)
}

func gateStatus(env *terminal.Env, dir string, asJSON bool) error {
	s, err := kernel.NewGate(dir).Status()
	off := errors.Is(err, kernel.ErrGateOff)
	if err != nil && !off {
		return err
	}
	switch {
	case asJSON && off:
		err = terminal.WriteJSON(env.Stdout, map[string]bool{"on": false})
	case asJSON:
		err = terminal.WriteJSON(env.Stdout, struct {
			On bool `json:"on"`
			kernel.GateStatus
		}{true, s})
	case off:
		_, err = fmt.Fprintln(env.Stdout, "No gate is on.")
	default:
		describeGate(env, dir, &s)
		c := s.Counts
		_, err = fmt.Fprintf(env.Stdout, "Since %s: %d let through, %d would have been refused, %d refused, %d killed; %d of those lost.\n",
			s.Since.In(view.Of(env).Zone).Format("2006-01-02 15:04:05"), c.Allowed, c.Seen, c.Refused, c.Killed, c.Lost)
	}
	if err == nil && off {
		return exit.Status(exit.Findings)
	}
	return err
}

func gateWatch(ctx context.Context, env *terminal.Env, dir string, asJSON bool) error {
	render, names := view.Of(env), new(userNames)
	err := kernel.NewGate(dir).Follow(ctx, func(s event.GateSighting) error {
		var err error
		if asJSON {
			err = terminal.WriteJSON(env.Stdout, s)
		} else {
			_, err = fmt.Fprintln(env.Stdout, gateLine(&render, names, &s))
		}
		if errors.Is(err, syscall.EPIPE) {
			return context.Canceled
		}
		return err
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if errors.Is(err, kernel.ErrGateOff) {
		return exit.Fail(exit.Usage, "sallyport guard gate on"+pinsFlag(dir), "no gate is on, or it was switched off or made anew")
	}
	return err
}

// gateLine is a sighting for a person.
func gateLine(render *view.Renderer, names *userNames, s *event.GateSighting) string {
	verdict, look := string(s.Verdict), terminal.Bad
	if s.Verdict == event.GateSeen {
		verdict, look = "would refuse", terminal.Warn
	}
	who := uidName(names, s.Peer.Cred.UID)
	if l := s.Peer.Cred.LoginUID; l != nil && *l != s.Peer.Cred.UID {
		who += " (login " + uidName(names, *l) + ")"
	}
	exe := string(s.Peer.Exe)
	if exe == "" {
		exe = string(s.Peer.Comm)
	}
	where := "host"
	if s.Peer.Container != "" {
		where = "container " + s.Peer.Container.Short()
	}
	parts := []string{
		s.Time.In(render.Zone).Format("15:04:05"), render.Palette.Paint(look, verdict), who,
		fmt.Sprintf("%s[%d]", printable.Text(exe), s.Peer.ID.PID), where, printable.Text(string(s.Socket)),
	}
	if s.Asked != "" && s.Asked != s.Socket {
		parts = append(parts, "as "+printable.Text(string(s.Asked)))
	}
	return strings.Join(parts, "  ")
}
