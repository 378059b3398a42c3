package hostaccess

import (
	"path"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
)

// byTool are the channels that sudo opens with a tool.
var byTool = map[string]event.Channel{
	"docker": event.ChannelDockerExec, "docker-compose": event.ChannelDockerExec, "nerdctl": event.ChannelRuntimeCtr, "ctr": event.ChannelRuntimeCtr,
	"crictl": event.ChannelRuntimeCRI, "runc": event.ChannelRuntimeRunc, "crun": event.ChannelRuntimeRunc, "nsenter": event.ChannelHostNsenter,
}

// verbs are the commands of these tools that run something in a container, or make
// one that is root on the host.
var verbs = []string{"exec", "run", "attach", "create", "start", "cp", "update", "compose", "up", "restore", "shell", "task", "tasks", "t", "c", "container", "containers", "load", "build", "plugin", "service", "stack"}

// shells are the programs that are a command line when they are given no script, runners
// those that run another program, or a shell when they are given none.
var (
	shells  = []string{"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "csh", "tcsh", "script", "screen", "tmux"}
	runners = []string{
		"su", "sudo", "env", "chroot", "unshare", "systemd-run", "busybox", "runuser", "setpriv", "doas", "nice", "nohup", "timeout", "setsid", "xargs", "flock", "watch",
	}
	// makers are the words of podman by which a container is made, which may be root on the host.
	makers = []string{"run", "create", "container", "pod", "kube", "play", "build"}
)

// opens says what a command of a rule opens: a channel, or everything of whom it is
// run as.
func opens(command string) (channels []event.Channel, everything bool) {
	name, args, restricted := strings.Cut(command, " ")
	tool := path.Base(name)
	switch {
	case strings.HasPrefix(command, "!"):
		return nil, false
	case command == all, command == "sudoedit", strings.HasSuffix(name, "/"), strings.ContainsAny(name, "*?["):
		return nil, true
	case slices.Contains(shells, tool), slices.Contains(runners, tool):
		return nil, !restricted || free(tool, strings.Fields(args))
	case tool == "podman":
		return nil, !restricted || pattern(args) || slices.ContainsFunc(strings.Fields(args), func(w string) bool { return slices.Contains(makers, w) })
	}
	c, ok := byTool[tool]
	if !ok || restricted && !commands(args) && tool != "nsenter" {
		return nil, false
	}
	return []event.Channel{c}, false
}

// free reports whether a shell or a runner with the arguments that a rule prescribes still
// runs what its user likes. One that is given a script runs that alone.
func free(tool string, args []string) bool {
	if pattern(strings.Join(args, " ")) {
		return true
	}
	words := slices.DeleteFunc(slices.Clone(args), func(w string) bool { return strings.HasPrefix(w, "-") || w == `""` })
	if slices.Contains(shells, tool) {
		return len(words) == 0
	}
	if i := slices.IndexFunc(args, func(w string) bool { return slices.Contains(shells, path.Base(w)) }); i >= 0 {
		return free(path.Base(args[i]), args[i+1:])
	}
	switch tool {
	case "su", "runuser":
		return len(words) == 0 || words[0] == rootName && !slices.Contains(args, "-c")
	case "chroot":
		return len(words) <= 1
	}
	return tool == "unshare" && len(words) == 0
}

// switches returns whom a command of a rule makes of somebody whom it names: "su - jane"; ""
// when it does not.
func switches(command string) string {
	f := strings.Fields(command)
	if len(f) < 2 || path.Base(f[0]) != "su" && path.Base(f[0]) != "runuser" || pattern(command) || slices.Contains(f, "-c") {
		return ""
	}
	for _, w := range f[1:] {
		if !strings.HasPrefix(w, "-") && w != rootName && w != `""` {
			return w
		}
	}
	return ""
}

// pattern reports whether arguments that a rule prescribes may be several.
func pattern(args string) bool {
	return strings.ContainsAny(args, "*?[") || strings.HasPrefix(args, "^")
}

// commands reports whether arguments that a rule prescribes let a command be run.
func commands(args string) bool {
	return pattern(args) || slices.ContainsFunc(strings.Fields(args), func(w string) bool { return slices.Contains(verbs, w) })
}
