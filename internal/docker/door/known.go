package door

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/bounded"
)

// Known answers what the daemon's containers are while it is about to start something
// in them, and waits for the runtime: then it does not say what it would have to lock
// (moby, daemon/start.go and exec.go), only what it lists. What their health checks run
// is asked beforehand, or afterwards for the next time.
type Known struct {
	daemon *daemon
	log    *slog.Logger

	mu     sync.Mutex
	checks *bounded.Table[event.ContainerID, []string] // guarded by mu; nil for none
	asked  map[event.ContainerID]bool                  // guarded by mu; by whom is waited for an answer
}

// Bounds of what is known.
const (
	checksMax = 1 << 14
	askedMax  = 64 // containers that are asked about at a time
	learnTime = 5 * time.Minute
)

// Known returns what answers while the daemon waits.
func (p *Proxy) Known() *Known {
	return &Known{
		daemon: p.daemon, log: p.opt.Logger, asked: map[event.ContainerID]bool{},
		checks: bounded.NewTable[event.ContainerID](checksMax, func([]string) {}),
	}
}

// Known is that of [Proxy].
func (p *Plugin) Known() *Known { return p.reader.Known() }

// Learn asks for the health checks of what runs already.
func (k *Known) Learn(ctx context.Context) {
	running, err := k.list(ctx, "")
	if err != nil {
		k.log.Warn("the Docker daemon does not say what runs: the first health check of each container will not be known as one", slog.Any("error", err))
	}
	for _, c := range running {
		k.learn(ctx, c.ContainerID)
	}
}

// Container says what the daemon has under a full id, and what its health check runs,
// as far as that is known yet; nil when it has no such container.
func (k *Known) Container(ctx context.Context, id event.ContainerID) (*session.Target, []string, error) {
	list, err := k.list(ctx, id)
	if err != nil || len(list) == 0 {
		return nil, nil, err
	}
	k.mu.Lock()
	check, known := k.checks.Get(id)
	ask := !known && !k.asked[id] && len(k.asked) < askedMax
	if ask {
		k.asked[id] = true
	}
	k.mu.Unlock()
	if ask {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), learnTime)
			defer cancel()
			k.learn(ctx, id)
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.asked, id)
		}()
	}
	return &list[0], check, nil
}

// learn asks what a container's health check runs. That stays as it is.
func (k *Known) learn(ctx context.Context, id event.ContainerID) {
	c, err := k.daemon.container(ctx, string(id))
	if err != nil {
		if a, ok := err.(*answer); !ok || a.status != http.StatusNotFound {
			k.log.Warn("the Docker daemon does not say what a container's health check is", slog.String("container", id.Short()), slog.Any("error", err))
		}
		return
	}
	var check []string
	if c.Health != nil {
		check = c.Health.Argv
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checks.Forget(id)
	k.checks.Add(id, check)
}

// list returns containers as the daemon lists them: the one of that id, or all that run.
func (k *Known) list(ctx context.Context, id event.ContainerID) ([]session.Target, error) {
	query := url.Values{}
	if id != "" {
		filter, err := json.Marshal(map[string][]string{"id": {string(id)}})
		if err != nil {
			return nil, err
		}
		query = url.Values{"all": {"1"}, "filters": {string(filter)}}
	}
	body, err := k.daemon.get(ctx, "/containers/json?"+query.Encode())
	if err != nil {
		return nil, err
	}
	var all []struct {
		ID      string `json:"Id"`
		Names   []string
		Image   string
		ImageID string
		Labels  map[string]string
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("list of containers: %w", err)
	}
	var out []session.Target
	for _, c := range all {
		if id != "" && c.ID != string(id) {
			continue // the filter takes beginnings, too
		}
		t := session.Target{ContainerID: event.ContainerID(c.ID), Image: c.Image, ImageID: c.ImageID, Labels: c.Labels}
		if len(c.Names) > 0 {
			t.ContainerName = strings.TrimPrefix(c.Names[0], "/")
		}
		out = append(out, t)
	}
	return out, nil
}
