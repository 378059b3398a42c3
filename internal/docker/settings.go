package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Confinement is what of a container's HostConfig says how it is confined, in an
// inspect and in the body of a create alike.
type Confinement struct {
	NetworkMode, PidMode, IpcMode string
	Privileged                    bool
	confinement
}

// confinement is the part of it that nothing else has.
type confinement struct {
	VolumesFrom       []string
	SecurityOpt       []string
	Sysctls           map[string]string
	DeviceCgroupRules []string
	CgroupParent      string
	// MaskedPaths and ReadonlyPaths are the usual ones when nil, and nothing when
	// empty.
	MaskedPaths, ReadonlyPaths []string
}

// Settings returns what a container is given by its confinement, working directory
// and variables (NAME=VALUE). id asks for the full id of another container.
func (c *Confinement) Settings(ctx context.Context, dir string, env []string, id func(context.Context, string) (string, error)) (*session.Settings, error) {
	s := &session.Settings{
		Dir: cmp.Or(dir, "/"), Variables: event.VariableNames(env), DeviceRules: slices.Clone(c.DeviceCgroupRules), CgroupParent: c.CgroupParent,
	}
	for _, o := range c.SecurityOpt {
		s.Security = append(s.Security, SecurityOption(o))
	}
	// Of a privileged container none are masked, and it says so itself.
	if !c.Privileged && (lacks(c.MaskedPaths, usualMasked) || lacks(c.ReadonlyPaths, usualReadonly)) {
		s.Security = append(s.Security, "systempaths=unconfined")
	}
	for name, value := range c.Sysctls {
		s.Sysctls = append(s.Sysctls, name+"="+value)
	}
	add := func(what, ref string) error {
		full, err := id(ctx, ref)
		s.Joined = append(s.Joined, what+":"+full)
		return err
	}
	for what, mode := range map[string]string{"network": c.NetworkMode, "pid": c.PidMode, "ipc": c.IpcMode} {
		if ref, ok := strings.CutPrefix(mode, "container:"); ok {
			if err := add(what, ref); err != nil {
				return nil, err
			}
		}
	}
	for _, from := range c.VolumesFrom {
		ref, _, _ := strings.Cut(from, ":")
		if err := add("volumes", ref); err != nil {
			return nil, err
		}
	}
	s.Tidy()
	return s, nil
}

// What runtimes mask and make read-only of themselves, as far as all releases since
// 18.09 agree (moby, oci.DefaultLinuxSpec).
var (
	usualMasked = []string{
		"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
	}
	usualReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// lacks reports whether a list of paths was given that lacks one of the usual.
func lacks(list, usual []string) bool {
	return list != nil && slices.ContainsFunc(usual, func(p string) bool { return !slices.Contains(list, p) })
}

// valueMax is how long the value of a security option may be that is kept: others
// are whole seccomp profiles.
const valueMax = 256

// SecurityOption returns an option as the daemon takes it apart: the older form has a
// colon, and labels are disabled by one word.
func SecurityOption(o string) string {
	if o == "disable" {
		return "label=disable"
	}
	name, value, ok := strings.Cut(o, "=")
	if !ok {
		if name, value, ok = strings.Cut(o, ":"); !ok {
			return o
		}
	}
	if len(value) > valueMax {
		sum := sha256.Sum256([]byte(value))
		value = "sha256:" + hex.EncodeToString(sum[:])
	}
	return name + "=" + value
}
