package settings

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/core/posture/inventory"
	"github.com/sallyport/sallyport/internal/lib/process"
	"github.com/sallyport/sallyport/internal/lib/rootfs"
)

// Read reads how the daemon of that process was told to run, and fills it in: its
// flags, its daemon.json and, where systemd has started it, its unit. Errors are of
// what could not be read; the rest counts.
func Read(pid int, d *inventory.Docker) (skipped []inventory.Skipped, failed []error) {
	args, err := process.Here.CommandLine(uint32(pid))
	if err != nil {
		return nil, []error{err}
	}
	flags := Flags(args[1:], inventory.Origin{Source: "flags of process " + strconv.Itoa(pid)})
	its, err := placesOf(uint32(pid))
	if err != nil && d.Rootless != inventory.No { // else the system's, whoever may look
		failed = append(failed, fmt.Errorf("whose files the daemon has: %w", err))
	}
	var file []inventory.Setting
	name, asked := its.daemonJSON(), false
	if at := values(flags, "config-file"); len(at) > 0 {
		name, asked = at[0], true
	}
	if asked || len(failed) == 0 {
		// As the daemon sees it, which may have other mounts.
		b, err := rootfs.Read(os.DirFS("/"), rooted(pid, name), fileMax)
		if err == nil {
			file, skipped, err = File(name, b)
		}
		if err != nil && (asked || !errors.Is(err, fs.ErrNotExist)) {
			failed = append(failed, err)
		}
	}
	var all []inventory.Setting
	all = append(append(all, flags...), file...)
	d.Disagree = append(d.Disagree, Compare(flags, file, false)...)
	d.Disagree = append(d.Disagree, applied(d, all)...)
	failed = append(failed, ofUnit(pid, its, flags, &all, d)...)
	if its.rootless && len(of(all, "hosts")) == 0 {
		all = append(all, inventory.Setting{Name: "hosts", Value: "unix://" + path.Join(its.runtime, "docker.sock"), Origin: inventory.Origin{Source: "default"}})
	}
	Effective(d, all)
	if d.NoNewPrivs == inventory.Unknown && len(failed) == 0 { // a daemon that does not say it
		d.NoNewPrivs = on(values(all, "no-new-privileges"), inventory.No)
	}
	return skipped, failed
}

// places are the directories of the user whom a daemon belongs to, as its environment
// names them. A rootless daemon has its files in them, and so has the systemd of a user
// his units.
type places struct {
	rootless              bool // started by RootlessKit
	home, config, runtime string
}

func placesOf(pid uint32) (p places, err error) {
	var state string
	for name, to := range map[string]*string{"ROOTLESSKIT_STATE_DIR": &state, "HOME": &p.home, "XDG_CONFIG_HOME": &p.config, "XDG_RUNTIME_DIR": &p.runtime} {
		if *to, err = process.Here.Variable(pid, name); err != nil {
			return places{}, err
		}
	}
	p.rootless = state != ""
	p.config = cmp.Or(p.config, path.Join(p.home, ".config"))
	return p, nil
}

// daemonJSON is where a daemon looks that is not told where.
func (p places) daemonJSON() string {
	if p.rootless {
		return path.Join(p.config, "docker/daemon.json")
	}
	return "/etc/docker/daemon.json"
}

// rooted returns the name that a file of a process has for us.
func rooted(pid int, name string) string {
	if shared, err := process.Here.Shares(uint32(pid), "mnt"); err != nil || shared {
		return name
	}
	return "/proc/" + strconv.Itoa(pid) + "/root" + name
}

// ofUnit compares the flags of a process with those of the unit that started it,
// and finds the addresses that systemd opens for it.
func ofUnit(pid int, its places, flags []inventory.Setting, all *[]inventory.Setting, d *inventory.Docker) (failed []error) {
	cgroup, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return []error{err}
	}
	name, users := unitOf(string(cgroup))
	if name == "" {
		return nil // started by something else
	}
	root, dirs := os.DirFS("/"), systemDirs
	if users {
		if its.home == "" {
			return []error{fmt.Errorf("%s of a user's systemd: his home is not known", name)}
		}
		dirs = userDirs(its.home, its.config, its.runtime)
	}
	unit, err := ReadUnit(root, dirs, name)
	switch {
	case err != nil:
		failed = append(failed, err)
	case len(unit.Unset) > 0:
		failed = append(failed, fmt.Errorf("%s:%d: nothing that was read sets %s", unit.Origin.Source, unit.Origin.Line, strings.Join(unit.Unset, ", ")))
	case len(unit.Exec) > 0 && filepath.Base(unit.Exec[0]) == "dockerd":
		d.Disagree = append(d.Disagree, Compare(flags, Flags(unit.Exec[1:], unit.Origin), true)...)
	}
	for _, s := range flags {
		if s.Name != "hosts" || !strings.HasPrefix(s.Value, "fd:") {
			continue
		}
		socket, err := ReadUnit(root, dirs, strings.TrimSuffix(name, ".service")+".socket")
		if err != nil {
			return append(failed, err)
		}
		*all = append(*all, socket.Listen...)
		break
	}
	return failed
}
