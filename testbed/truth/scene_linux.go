package truth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/testbed/docker"
)

const (
	// envTruth carries a command's secret.
	envTruth = "TRUTH"
	// healthNonce is the secret of everything that has none of its own: the
	// container's environment holds it.
	healthNonce = "health"

	image = "sallyport.test/truth:1"
)

// tellArgv is the one argument list of the storm: people, API clients, runc and
// health checks all run exactly this.
var tellArgv = []string{"/bin/actor", "tell", "/truth/s"}

// scene is the stage of one storm: two containers, the ears, and the notes of
// what was done.
type scene struct {
	engine *docker.Engine
	dir    string // one per scene, below the engine's
	client string // this program, where every uid can run it
	web    event.ContainerID
	webPID int
	short  event.ContainerID // where exit codes are secrets
	ear    *listener
	logins bool // this process may set login uids

	mu      sync.Mutex
	serial  int
	codes   int
	deeds   []Deed
	watched []event.ContainerID
	teller  map[string]bool // nonces whose deed awaits its process
}

// newScene starts the containers. The health check of web begins at once.
func newScene(ctx context.Context, e *docker.Engine, client string, hold time.Duration) (_ *scene, err error) {
	s := &scene{engine: e, client: client, teller: make(map[string]bool), logins: canSetLogin(ctx)}
	if s.dir, err = os.MkdirTemp(e.Dir, "truth-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return nil, err
	}
	if s.ear, err = listen(filepath.Join(s.dir, "s"), hold); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		id    *event.ContainerID
		image string
	}{{&s.web, image}, {&s.short, docker.Image}} {
		id, err := e.Run(ctx, "-e", envTruth+"="+healthNonce, "-v", s.dir+":/truth", c.image)
		if err != nil {
			return nil, err
		}
		*c.id = event.ContainerID(id)
		s.watched = append(s.watched, *c.id)
	}
	s.webPID, err = e.HostPID(ctx, string(s.web))
	return s, err
}

// importImage makes the image whose health check runs tellArgv.
func importImage(ctx context.Context, e *docker.Engine) error {
	return e.Import(ctx, image, fmt.Sprintf(`HEALTHCHECK --interval=300ms --timeout=20s CMD [%q,%q,%q]`, tellArgv[0], tellArgv[1], tellArgv[2]))
}

// nonce returns a fresh secret, to be told by a command.
func (s *scene) nonce() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	n := "n" + strconv.Itoa(s.serial)
	s.teller[n] = true
	return n
}

// exitCode returns a fresh exit code between 1 and 124 (above that, shells and
// Docker have meanings of their own), 0 when they are used up.
func (s *scene) exitCode() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.codes == 124 {
		return 0
	}
	s.codes++
	return s.codes
}

func (s *scene) note(d Deed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deeds = append(s.deeds, d)
}

func (s *scene) watch(id event.ContainerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = append(s.watched, id)
}

// close ends the containers and returns what truly happened. A command that
// was done but never told, or told twice, is an error: the ground must be solid
// before anything is judged by it.
func (s *scene) close(ctx context.Context) ([]Deed, error) {
	var errs []error
	for _, id := range []event.ContainerID{s.web, s.short} {
		errs = append(errs, s.engine.Remove(ctx, string(id)))
	}
	told, earErrs := s.ear.close()
	errs = append(errs, earErrs...)
	process := make(map[string]event.ProcessID)
	deeds := slices.Clone(s.deeds)
	for _, t := range told {
		switch {
		case t.Nonce == healthNonce:
			deeds = append(deeds, Deed{Nonce: t.Nonce, Door: Health, Container: s.web, Process: t.Process, Start: t.At, End: t.At})
		case !process[t.Nonce].IsZero():
			errs = append(errs, fmt.Errorf("nonce %s: told twice, by %s and %s", t.Nonce, process[t.Nonce], t.Process))
		default:
			process[t.Nonce] = t.Process
		}
	}
	for i := range deeds {
		d := &deeds[i]
		if !s.teller[d.Nonce] {
			continue
		}
		if d.Process = process[d.Nonce]; d.Process.IsZero() {
			errs = append(errs, fmt.Errorf("%s, nonce %s: done, but never told", d.Door, d.Nonce))
		}
	}
	return deeds, errors.Join(errs...)
}

// canSetLogin reports whether login uids can be set, as PAM does at login.
func canSetLogin(ctx context.Context) bool {
	_, err := docker.Output(login(ctx, 5, []string{"/bin/true"}))
	return err == nil
}

// fail makes what a client printed part of an error about its door.
func fail(door Door, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", door, err)
}
