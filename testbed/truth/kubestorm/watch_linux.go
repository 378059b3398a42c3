package kubestorm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
	"github.com/sallyport/sallyport/testbed/truth"
	"github.com/sallyport/sallyport/testbed/up"
)

// options are those of a cluster that Sallyport watches.
func options(opts Options) kube.Options {
	return kube.Options{AuditPolicy: string(audit.MinimalPolicy), Nodes: []kube.NodeOptions{{CRIO: opts.CRIO}}}
}

// admission is where the API server finds the admission webhook.
const admission = "127.0.0.1:9443"

// flags says what up is given to see. All flags of up are here.
func flags(c *kube.Cluster, mode truth.Mode, log string) []string {
	runtime := "--containerd"
	if c.Nodes[0].CRIO() {
		runtime = "--crio"
	}
	out := []string{"--docker", filepath.Join(c.Dir, "docker.sock"), runtime, c.Nodes[0].Socket, "--kubeconfig", c.Admin.Kubeconfig, "--audit-log", log}
	if mode == Admission {
		out = append(out, "--admission", admission)
	}
	return out
}

// install tells the API server of the admission webhook, and remove takes it
// back.
func (w *watcher) install(ctx context.Context, program string) error {
	config, err := testbed.Output(exec.CommandContext(ctx, program, "kube", "webhook-config", "--url", "https://"+admission, "--state", w.up.State))
	if err != nil {
		return err
	}
	return w.cluster.Apply(ctx, config)
}

func (w *watcher) remove(ctx context.Context) error {
	_, err := testbed.Output(w.cluster.Kubectl(ctx, w.cluster.Admin, "delete", "validatingwebhookconfigurations", "--all"))
	return err
}

// watcher is a running up and what is between it and the API server.
type watcher struct {
	up      *up.Process
	cluster *kube.Cluster
	dir     string
	mode    truth.Mode

	relayed chan error // nil without a relay
	hush    func()     // ends the relay when all is through
}

// watch starts up and returns when it sees commands.
func watch(ctx context.Context, c *kube.Cluster, mode truth.Mode, opts Options) (_ *watcher, err error) {
	w := &watcher{cluster: c, dir: filepath.Join(opts.Keep, slug(mode)), mode: mode, hush: func() {}}
	log := c.Audit
	if mode == Late {
		log = filepath.Join(c.Dir, "late.log")
		relaying, cancel := context.WithCancel(context.WithoutCancel(ctx))
		w.hush, w.relayed = cancel, make(chan error, 1)
		r := relay{Delay: time.Minute, Jitter: 5 * time.Second, Twice: 0.02, Never: 0.01}
		go func() { w.relayed <- r.run(relaying, c.Audit, log, opts.Seed) }()
	}
	inside := func(name string, args ...string) *exec.Cmd {
		return c.Command(context.WithoutCancel(ctx), name, args...)
	}
	if w.up, err = up.Run(opts.Sallyport, w.dir, inside, flags(c, mode, log)...); err != nil {
		return nil, err
	}
	if mode == Admission {
		if err := w.install(ctx, opts.Sallyport); err != nil {
			return nil, errors.Join(err, w.stop())
		}
	}
	if err := w.ready(ctx, c); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

// slug is a mode as the name of a directory.
func slug(m truth.Mode) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(string(m), "-"), "-")
}

// ready waits until a command in a pod shows up as a session.
func (w *watcher) ready(ctx context.Context, c *kube.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	name := fmt.Sprintf("canary-%x", time.Now().UnixNano())
	pod, err := c.RunPod(ctx, "default", name, "")
	if err != nil {
		return err
	}
	for {
		if _, err := testbed.Output(c.Kubectl(ctx, c.Admin, "exec", name, "--", "/bin/true")); err != nil {
			return err
		}
		pause(ctx, 2*time.Second)
		sessions, err := w.up.Sessions(ctx)
		if err := errors.Join(err, w.up.Failed(), ctx.Err()); err != nil {
			return fmt.Errorf("sallyport up sees no session of an exec: %w", err)
		}
		for _, s := range sessions {
			known := s.Attribution.Level == session.LevelExact || s.Attribution.Level == session.LevelStrong && w.mode != Admission
			if s.Target.ContainerID == event.ContainerID(pod.Containers["app"]) && s.Kind == session.KindExec && known {
				return nil
			}
		}
	}
}

// finish waits until nothing more is to come, ends up and returns what it found.
func (w *watcher) finish(ctx context.Context, stage truth.Stage) ([]session.Session, error) {
	w.hush()
	wait := time.Minute
	if w.mode == Late {
		wait = 6 * time.Minute
	}
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); pause(ctx, 2*time.Second) {
		sessions, err := w.up.Sessions(ctx)
		if err := errors.Join(err, w.up.Failed(), ctx.Err()); err != nil {
			return nil, err
		}
		if settled(stage, sessions) {
			break
		}
	}
	if err := w.stop(); err != nil {
		return nil, err
	}
	return w.up.Sessions(ctx)
}

// settled reports whether no session is open or pending.
func settled(stage truth.Stage, sessions []session.Session) bool {
	found := 0
	for i := range sessions {
		s := &sessions[i]
		if !slices.Contains(stage.Watched, s.Target.ContainerID) {
			continue
		}
		pending := slices.ContainsFunc(s.Gaps, func(g string) bool { return strings.Contains(g, "not known yet") })
		if pending || s.State == session.StateRunning {
			return false
		}
		found++
	}
	return found > 0
}

// stop ends up. It may be called again.
func (w *watcher) stop() error {
	w.hush()
	var relayErr error
	if w.relayed != nil {
		relayErr = <-w.relayed
		w.relayed = nil
	}
	if w.mode == Admission {
		relayErr = errors.Join(relayErr, w.remove(context.Background()))
	}
	return errors.Join(relayErr, w.up.Stop())
}
