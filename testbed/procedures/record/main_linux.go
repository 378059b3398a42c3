// Command record makes the recordings of rules/testdata/procedures: it plays each
// procedure by stand-ins beside `sallyport capture`, and keeps what the witnesses
// reported, without the names of the machine. It needs what the test bed needs,
// root and the kernel sensor, and no other engine or cluster beside.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/store/capture"
	"github.com/sallyport/sallyport/testbed/procedures"
)

func main() {
	r := recorder{}
	flag.StringVar(&r.sallyport, "sallyport", "bin/sallyport", "the program that captures")
	flag.StringVar(&r.out, "o", "rules/testdata/procedures", "where recordings go")
	flag.StringVar(&r.only, "only", "", "play this procedure only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := r.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

type recorder struct {
	sallyport, out, only string
	dir                  string
}

func (r *recorder) main(ctx context.Context) (err error) {
	if r.sallyport, err = filepath.Abs(r.sallyport); err != nil {
		return err
	}
	if r.dir, err = os.MkdirTemp("", "sallyport-record-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.dir)
	if err := os.Chmod(r.dir, 0o755); err != nil {
		return err
	}
	return errors.Join(r.docker(ctx), r.kube(ctx))
}

// wants reports whether any of the procedures is to be played.
func (r *recorder) wants(names ...string) bool {
	for _, n := range names {
		if r.only == "" || r.only == n {
			return true
		}
	}
	return false
}

// docker plays each of its procedures on an engine of its own: what one leaves running
// would be in the other's recording.
func (r *recorder) docker(ctx context.Context) error {
	for _, name := range []string{procedures.Kinsing, procedures.TeamTNT} {
		if !r.wants(name) {
			continue
		}
		if err := r.onDocker(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) onDocker(ctx context.Context, name string) (err error) {
	d, err := procedures.StartDocker(ctx, filepath.Join(r.dir, "docker-"+name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Stop()) }()
	acts := slices.DeleteFunc(d.Acts(), func(a procedures.Act) bool { return a.Procedure != name })
	return r.recordAll(ctx, scene{exec.Command, d.Watch(), d.Paths()}, acts)
}

func (r *recorder) kube(ctx context.Context) (err error) {
	if !r.wants(procedures.Hildegard, procedures.Peirates, procedures.Siloscape) {
		return nil
	}
	k, err := procedures.StartKube(ctx, filepath.Join(r.dir, "kube"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Stop()) }()
	return r.recordAll(ctx, scene{k.Inside(ctx), k.Watch(), k.Paths()}, k.Acts())
}

func (r *recorder) recordAll(ctx context.Context, s scene, acts []procedures.Act) error {
	for _, act := range acts {
		if !r.wants(act.Procedure) {
			continue
		}
		if err := r.record(ctx, s, act); err != nil {
			return err
		}
	}
	return nil
}

// scene is where acts are played.
type scene struct {
	command func(name string, args ...string) *exec.Cmd
	flags   []string
	paths   []string // to be replaced
}

// How long a capture has before the act to see all doors, and after it for
// witnesses that come late.
const (
	before = 8 * time.Second
	after  = 12 * time.Second
)

// record plays an act while a capture runs.
func (r *recorder) record(ctx context.Context, s scene, act procedures.Act) error {
	raw := filepath.Join(r.dir, act.Procedure+".capture")
	cmd := s.command(r.sallyport, append([]string{"capture", "-o", raw}, s.flags...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	pause(ctx, before)
	err := act.Play(ctx)
	pause(ctx, after)
	cmd.Process.Signal(syscall.SIGINT)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", act.Procedure, err)
	}
	return r.keep(raw, act.Procedure, s.paths)
}

// keep writes a recording without the names of this machine.
func (r *recorder) keep(raw, name string, paths []string) error {
	in, err := capture.Open(raw)
	if err != nil {
		return err
	}
	defer in.Close()
	var all []event.Observation
	for o, err := range in.All() {
		if err != nil {
			return err
		}
		all = append(all, o)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	paths = append([]string{r.sallyport, "/usr/bin/sallyport", r.dir, "/srv/standins"}, paths...)
	kept, err := procedures.Scrub(all, procedures.Machine{Hostname: host, Replace: paths})
	if err != nil {
		return err
	}
	file := filepath.Join(r.out, name+".capture.zst")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	head := in.Header()
	head.Hostname, head.BootID, head.Kernel = "node1", "boot", kernel(head.Kernel)
	out, err := capture.Create(file, head)
	if err != nil {
		return err
	}
	for _, o := range kept {
		if err := out.Write(o); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	fmt.Printf("%s: %d of %d observations\n", file, len(kept), len(all))
	return errors.Join(out.Close(), os.Chmod(file, 0o644))
}

// kernel is the first two numbers of a kernel's release.
func kernel(release string) string {
	parts := strings.SplitN(release, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
