package lineage

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/core/event"
)

// The programs between a service and a container's processes, by name: OCI
// runtimes, and the shims that call them. On Windows the container's own agent
// starts what a service asks for (CExecSvc, procedures.md §2.4).
var (
	runtimes = []string{"runc", "crun", "youki", "runsc"}
	shims    = []string{"conmon", "cexecsvc.exe"}
)

func isRuntime(name, exe event.Text) bool {
	return slices.ContainsFunc(runtimes, func(r string) bool { return base(exe) == r || strings.HasPrefix(string(name), r) })
}

func isShim(name, exe event.Text) bool {
	return slices.ContainsFunc([]string{base(exe), base(name)}, func(n string) bool {
		return strings.HasPrefix(n, "containerd-shim") || slices.Contains(shims, strings.ToLower(n))
	})
}

// starts reports whether a is what starts processes in containers.
func starts(a event.Ancestor) bool { return isRuntime(a.Comm, a.Exe) || isShim(a.Comm, a.Exe) }

// base returns the last element of a path of Linux or Windows.
func base(path event.Text) string {
	return string(path[strings.LastIndexAny(string(path), `/\`)+1:])
}

// op is what a runtime was told to do.
type op uint8

const (
	opNone op = iota
	opCreate
	opExec
)

// way is what the arguments of a process's nearest parents say of its way in.
type way struct {
	op        op
	container event.ContainerID
}

// door reads the arguments of the runtime, or else of the shim, that is the
// nearest parent.
//
// Sources: the command lines of runc 1.1 ("runc exec [flags] ID …", "runc create
// [flags] ID") and of containerd's shim v2 ("-namespace NS -id ID"), which for
// pods names the sandbox (testbed.md §4.8); conmon(8) ("-c ID").
func door(parents []event.Ancestor) way {
	if len(parents) == 0 {
		return way{}
	}
	a := parents[0]
	args := a.Argv.Args
	if a.Argv.Joined && len(args) == 1 {
		args = strings.Fields(args[0])
	}
	switch {
	case isRuntime(a.Comm, a.Exe):
		return ofRuntime(args)
	case isShim(a.Comm, a.Exe):
		return way{container: ofShim(args)}
	}
	return way{}
}

// runtimeSwitches are the runtimes' flags that take no value.
var runtimeSwitches = []string{
	"--debug", "--systemd-cgroup", "--detach", "-d", "--tty", "-t", "--no-new-privs", "--ignore-paused", "--no-pivot",
	"--no-new-keyring", "--no-subreaper", "--keep",
}

func ofRuntime(args []string) way {
	var w way
	for i := 1; i < len(args); i++ {
		switch a := args[i]; {
		case strings.HasPrefix(a, "-"):
			if !strings.Contains(a, "=") && !slices.Contains(runtimeSwitches, a) {
				i++
			}
		case w.op != opNone:
			w.container = idOf(a)
			return w
		case a == "exec":
			w.op = opExec
		case a == "create", a == "run", a == "restore":
			w.op = opCreate
		default:
			return way{} // "init", "start", "state": nothing enters by these
		}
	}
	return way{}
}

func ofShim(args []string) event.ContainerID {
	value := func(names ...string) string {
		for i := range len(args) - 1 {
			if slices.Contains(names, args[i]) {
				return args[i+1]
			}
		}
		return ""
	}
	if value("-namespace", "--namespace") == "k8s.io" {
		return "" // -id is the pod's sandbox
	}
	return idOf(value("-id", "--id", "-c", "--cid"))
}

// identifier is what containerd takes for an id (pkg/identifiers); runc takes as
// much.
var identifier = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$`) })

// idOf returns s when it can be a container's id.
func idOf(s string) event.ContainerID {
	if !identifier().MatchString(s) {
		return ""
	}
	return event.ContainerID(s)
}
