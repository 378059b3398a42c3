package door

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/containerd"
	"github.com/sallyport/sallyport/internal/containerd/door/call"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/process"
)

// The namespaces of containerd whose containers are others' (moby, daemon/config;
// containerd, internal/cri/constants).
const (
	dockerNamespace = "moby"
	kubeNamespace   = "k8s.io"
)

// caller is what called the runtime.
type caller string

// The callers.
const (
	byContainerd caller = "containerd" // a shim of its
	byBuilder    caller = "builder"    // BuildKit, within dockerd or for itself
	byAnother    caller = "another"    // engine, which is not understood here
	byHand       caller = ""
)

// callerOf says what called the process that asks: its parent, or that one's where a
// script stands between (dockerd makes one of a runtime's arguments). It goes by the
// name of a program, which root may take: then it is known of one command less who
// asked, never of one more.
func callerOf(peer *event.Peer) caller {
	if peer.Container != "" {
		return byHand // what runs in a container is a shim's child, too
	}
	parent := process.Here.Parent(peer.ID.PID)
	by, shell := callerNamed(parent)
	if shell {
		by, _ = callerNamed(process.Here.Parent(parent))
	}
	return by
}

// callerNamed says what a process is by its program, and whether it is a shell.
func callerNamed(pid uint32) (by caller, shell bool) {
	program, err := process.Here.Program(pid)
	if err != nil {
		return byHand, false
	}
	switch name := filepath.Base(program); {
	case strings.HasPrefix(name, "containerd-shim"):
		return byContainerd, false
	case name == "dockerd", name == "buildkitd":
		return byBuilder, false
	case name == "conmon", name == "conmonrs", name == "crio", name == "podman", name == "buildah":
		return byAnother, false
	case name == "sh", name == "dash", name == "bash", name == "busybox":
		return byHand, true
	}
	return byHand, false
}

// ociProcess is what of an OCI process is of use. The runtime reads the same by the
// same decoder.
type ociProcess struct {
	Terminal bool     `json:"terminal"`
	Args     []string `json:"args"`
	Env      []string `json:"env"`
	Cwd      string   `json:"cwd"`
	User     struct {
		UID uint32 `json:"uid"`
	} `json:"user"`
	Capabilities struct {
		Bounding []string `json:"bounding"`
	} `json:"capabilities"`
}

// session is what a call is, as far as its command line tells.
func (d *Door) session(l *call.Line, peer *event.Peer, by caller) *session.Session {
	s := &session.Session{
		ID: session.ID(strings.ToLower(rand.Text()[:16])), State: session.StateRunning, Started: time.Now().UTC(),
		Kind: session.KindRuntime, Channel: event.ChannelRuntimeRunc, Actor: session.Actor{Kind: session.ActorNone},
		Attribution: session.Attribution{Level: session.LevelNone}, Target: session.Target{ContainerID: event.ContainerID(l.Container)},
	}
	if by != byHand {
		return s // a daemon: who asked it is not told
	}
	if s.Actor = session.UnixActor(peer, d.opt.User); s.Actor.Kind != session.ActorNone {
		s.Attribution = session.Attribution{Level: session.LevelExact, Via: []string{"guard"}}
	}
	return s
}

// beginning is what begins, and who called the runtime for it.
type beginning struct {
	verb         call.Verb
	by           caller
	namespace    string // of containerd; of others a directory's name
	process, own ociProcess
	execID       event.ExecID
}

// describe says what begins, where, and by which way it came.
func (d *Door) describe(ctx context.Context, s *session.Session, q *call.Question, by caller) error {
	b, err := beginningOf(q, by)
	if err != nil {
		return err
	}
	container, err := containerd.DescribeBundle(s.Started, b.namespace, s.Target.ContainerID, q.Config)
	if err != nil {
		return err
	}
	p := &b.process
	s.Argv, s.ArgvSource, s.TTY, s.User = p.Args, "request", p.Terminal, strconv.FormatUint(uint64(p.User.UID), 10)
	if s.Carried, err = variables(p.Env); err != nil {
		return err
	}
	s.Target = session.Target{
		ContainerID: container.ID, ContainerName: container.Name, Image: container.Image, Namespace: container.PodNamespace,
		Pod: container.Pod, PodUID: container.PodUID, HostAccess: container.HostAccess,
	}
	if b.verb == call.Exec {
		s.Settings = &session.Settings{Dir: p.Cwd, Variables: event.VariableNames(p.Env)}
		s.Settings.Tidy()
		s.Target.HostAccess = withMore(s.Target.HostAccess, p.Capabilities.Bounding)
	}
	return d.classify(ctx, s, b)
}

// classify says by which way it came.
func (d *Door) classify(ctx context.Context, s *session.Session, b *beginning) error {
	starts := b.verb != call.Exec
	switch {
	case b.by == byHand:
	case b.by == byBuilder:
		s.Kind, s.Channel = session.KindChange, event.ChannelDockerBuild
	case b.by == byAnother:
		s.Channel = event.ChannelUnknown
	case b.namespace == kubeNamespace && starts:
		s.Kind, s.Channel = session.KindStart, event.ChannelRuntimeCRI
	case b.namespace == kubeNamespace:
		s.Kind, s.Channel = session.KindExec, event.ChannelRuntimeCRI
	case starts:
		s.Channel = event.ChannelRuntimeRun
	default:
		s.Channel, s.ExecID = event.ChannelRuntimeCtr, b.execID
	}
	if b.by == byContainerd && b.namespace == dockerNamespace && d.opt.Docker != nil {
		return d.ofDocker(ctx, s, b)
	}
	return nil
}

// ofDocker says what begins in a container that may be the Docker daemon's.
func (d *Door) ofDocker(ctx context.Context, s *session.Session, b *beginning) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	c, err := d.opt.Docker(ctx, s.Target.ContainerID)
	switch {
	case err != nil:
		return fmt.Errorf("the Docker daemon does not say what container %s is: %w", s.Target.ContainerID.Short(), err)
	case c == nil:
		return nil
	}
	access := s.Target.HostAccess
	s.Target = c.Target
	s.Target.HostAccess = access
	switch {
	case b.verb != call.Exec:
		s.Kind, s.Channel = session.KindStart, event.ChannelDockerStart
	case c.Health != nil && slices.Equal(c.Health, s.Argv) && b.process.surroundedAs(&b.own):
		s.Kind, s.Channel = session.KindHealthcheck, event.ChannelDockerHealth
	}
	return nil
}

// surroundedAs reports whether a process has the user, the directory and the environment
// of another: a health check has its container's.
func (p *ociProcess) surroundedAs(own *ociProcess) bool {
	return p.User.UID == own.User.UID && p.Cwd == own.Cwd && slices.Equal(sorted(p.Env), sorted(own.Env))
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// beginningOf reads what begins.
func beginningOf(q *call.Question, by caller) (*beginning, error) {
	l := &q.Line
	switch {
	case q.Unclear != "":
		return nil, errors.New(q.Unclear)
	case !l.Begins() || l.Container == "":
		return nil, errors.New("nothing begins by it")
	}
	b := &beginning{verb: l.Verb, by: by, namespace: filepath.Base(l.Root)}
	b.execID = event.ExecID(strings.TrimSuffix(filepath.Base(l.PIDFile), ".pid")) // containerd, pkg/process: ID.pid
	var config struct {
		Process ociProcess `json:"process"`
	}
	if q.Config != nil {
		if err := json.Unmarshal(q.Config, &config); err != nil {
			return nil, fmt.Errorf("config.json: %w", err)
		}
	}
	b.own, b.process = config.Process, config.Process
	switch {
	case l.Verb == call.Exec && q.Process != nil:
		b.process = ociProcess{}
		if err := json.Unmarshal(q.Process, &b.process); err != nil {
			return nil, fmt.Errorf("the process: %w", err)
		}
	case l.Verb == call.Exec:
		if err := overlay(&b.process, l); err != nil {
			return nil, err
		}
	}
	if len(b.process.Args) == 0 {
		return nil, errors.New("it has no command")
	}
	return b, nil
}

// overlay puts what an exec's command line says over the container's own process
// (runc, exec.go).
func overlay(p *ociProcess, l *call.Line) error {
	p.Args, p.Terminal, p.Env = l.Argv, l.Terminal, slices.Concat(p.Env, l.Env)
	if l.Dir != "" {
		p.Cwd = l.Dir
	}
	if l.User == "" {
		return nil
	}
	user, _, _ := strings.Cut(l.User, ":")
	uid, err := strconv.ParseUint(user, 10, 32)
	if err != nil {
		return fmt.Errorf("user %q is no number", l.User)
	}
	p.User.UID = uint32(uid)
	return nil
}

// withMore adds an exec's own capabilities to what its container has from the host,
// which may be unknown.
func withMore(has *event.HostAccess, capabilities []string) *event.HostAccess {
	own := &event.HostAccess{Partial: has == nil}
	for _, name := range capabilities {
		if !event.UsualCapability(name) {
			own.Capabilities = append(own.Capabilities, name)
		}
	}
	if own.Tidy(); own.Plain() {
		return has
	}
	return has.With(own)
}

// variables are those of an environment that are commands by another name. Of one that
// is set twice each counts: which a program takes is its own affair.
func variables(env []string) ([]session.Carried, error) {
	var out []session.Carried
	for _, one := range env {
		name, value, _ := strings.Cut(one, "=")
		for _, v := range event.AppendVariable(nil, name, value) {
			out = append(out, session.CarriedVariable(v))
		}
	}
	if len(out) > session.MaxCarried {
		return nil, fmt.Errorf("it sets %d variables that load or run something", len(out))
	}
	return out, nil
}
