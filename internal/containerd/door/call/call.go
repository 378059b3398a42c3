// Package call reads how an OCI runtime is called, and asks a door about it.
//
// What is read is the command line of runc 1.0 to 1.4, whose flags are Go's (package
// flag): shims of containerd and dockerd call every runtime so. What of it cannot be
// read in one way only is refused.
package call

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Verb is what a runtime is asked to do.
type Verb string

// The verbs that begin a command in a container.
const (
	Create  Verb = "create"
	Run     Verb = "run"
	Restore Verb = "restore"
	Exec    Verb = "exec"
)

// others are the verbs that begin none (runc 1.0 to 1.4).
var others = []Verb{"checkpoint", "delete", "events", "features", "help", "h", "kill", "list", "pause", "ps", "resume", "spec", "start", "state", "update"}

// Line is the command line of a runtime.
type Line struct {
	Verb Verb // "" for --help and --version
	// Container is its id, of the four verbs that begin a command.
	Container string
	Root      string // directory of the runtime's state
	Bundle    string // directory of config.json; "." when nothing is said
	PIDFile   string
	Process   string // file with the process of an exec; "" when Argv is the command
	Argv      []string
	Terminal  bool
	User      string
	Dir       string
	Env       []string
	Log       string // file that the caller reads errors from
	LogFormat string // text or json
}

// Begins reports whether a command begins in a container by it.
func (l *Line) Begins() bool {
	return slices.Contains([]Verb{Create, Run, Restore, Exec}, l.Verb)
}

// Parse reads a command line, without the program's name. What is known of it is
// returned with an error, too: where the caller looks for one.
func Parse(args []string) (*Line, error) {
	l := &Line{Root: "/run/runc", Bundle: ".", LogFormat: "text"}
	global := flags("runtime")
	global.StringVar(&l.Root, "root", l.Root, "")
	global.StringVar(&l.Log, "log", "", "")
	global.StringVar(&l.LogFormat, "log-format", l.LogFormat, "")
	ignore(global, []string{"debug", "systemd-cgroup", "help", "h", "version", "v"}, []string{"criu", "rootless"})
	if err := global.Parse(args); err != nil {
		return l, fmt.Errorf("the runtime's command line: %w", err)
	}
	rest := global.Args()
	if len(rest) == 0 {
		return l, nil
	}
	l.Verb = Verb(rest[0])
	if !l.Begins() {
		if !slices.Contains(others, l.Verb) {
			return l, fmt.Errorf("%q is no command of a runtime that is known", string(l.Verb))
		}
		return l, nil
	}
	f := l.flags()
	if err := f.Parse(rest[1:]); err != nil {
		return l, fmt.Errorf("the command line of %s: %w", l.Verb, err)
	}
	return l, l.operands(f.Args())
}

// operands reads what follows the flags.
func (l *Line) operands(rest []string) error {
	if len(rest) == 0 || rest[0] == "" {
		return fmt.Errorf("%s names no container", l.Verb)
	}
	l.Container, l.Argv = rest[0], rest[1:]
	switch {
	case l.Verb != Exec && len(l.Argv) > 0:
		// Some versions read flags there.
		return fmt.Errorf("%s: %q stands behind the container's id", l.Verb, l.Argv[0])
	case l.Verb == Exec && (l.Process == "") == (len(l.Argv) == 0):
		return errors.New("exec names no command, or two: that of --process and another")
	case strings.Contains(l.Container, "/") || l.Container == "." || l.Container == "..":
		return fmt.Errorf("%q is no container's id", l.Container)
	}
	return nil
}

// flags are those of the verb.
func (l *Line) flags() *flag.FlagSet {
	f := flags(string(l.Verb))
	both := func(to *string, names ...string) {
		for _, name := range names {
			f.StringVar(to, name, *to, "")
		}
	}
	both(&l.PIDFile, "pid-file")
	ignore(f, []string{"detach", "d", "no-subreaper", "help", "h"}, []string{"console-socket", "pidfd-socket", "preserve-fds"})
	if l.Verb == Exec {
		both(&l.Process, "process", "p")
		both(&l.User, "user", "u")
		both(&l.Dir, "cwd")
		for _, name := range []string{"tty", "t"} {
			f.BoolVar(&l.Terminal, name, l.Terminal, "")
		}
		for _, name := range []string{"env", "e"} {
			f.Func(name, "", func(v string) error { l.Env = append(l.Env, v); return nil })
		}
		ignore(f, []string{"no-new-privs", "ignore-paused"}, []string{"additional-gids", "g", "process-label", "apparmor", "cap", "c", "cgroup"})
		return f
	}
	both(&l.Bundle, "bundle", "b")
	ignore(f, []string{"no-pivot", "no-new-keyring", "keep", "tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages", "link-remap"},
		[]string{"image-path", "work-path", "parent-path", "manage-cgroups-mode", "empty-ns", "status-fd", "lsm-profile", "lsm-mount-context", "page-server"})
	return f
}

func flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// ignore takes flags that change nothing about which command begins where.
func ignore(f *flag.FlagSet, bools, values []string) {
	for _, name := range bools {
		f.Bool(name, false, "")
	}
	for _, name := range values {
		f.Func(name, "", func(string) error { return nil })
	}
}
