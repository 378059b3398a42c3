package up

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/ruleset"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/finding"
	"github.com/sallyport/sallyport/internal/core/policy"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/lib/printable"
	"github.com/sallyport/sallyport/internal/store"
	"github.com/sallyport/sallyport/internal/watch"
)

// ruling is the rules at work: it makes findings of what is about to be stored,
// so that they are stored with it.
type ruling struct {
	path string // or config.RulesShipped
	log  *slog.Logger
	told chan []finding.Finding // stored findings, for whoever prints them

	mu      sync.Mutex
	engine  *policy.Engine
	unsaved []finding.Finding // made, and not stored yet
	status  watch.Rules
	window  time.Duration // over which rules look at several sessions
}

// Bounds of what waits.
const (
	unsavedFindingsMax = 1 << 14
	toldFindingsMax    = 1 << 8
)

// newRuling loads the rules of `up`; nil when there are to be none.
func newRuling(path string, log *slog.Logger) (*ruling, error) {
	if path == config.RulesNone {
		return nil, nil
	}
	r := &ruling{path: path, log: log, told: make(chan []finding.Finding, toldFindingsMax)}
	set, err := r.load()
	if err != nil {
		return nil, err
	}
	r.engine = policy.NewEngine(set)
	r.loaded(set)
	return r, nil
}

func (r *ruling) load() (*policy.Set, error) {
	if r.path == config.RulesShipped {
		return ruleset.Load(nil)
	}
	return ruleset.Load([]string{r.path})
}

// said says whose rules are at work.
func (r *ruling) said() string {
	if r.path != config.RulesShipped {
		return printable.Text(r.path)
	}
	return fmt.Sprintf("the shipped pack, %d rules that alert and never deny (--rules none: without)", r.status.Rules)
}

// loaded notes, mu held or before use, that a set is at work.
func (r *ruling) loaded(set *policy.Set) {
	r.window = set.Window()
	r.status.Path, r.status.Rules, r.status.Loaded, r.status.Error = r.path, len(set.Rules()), time.Now().UTC(), ""
}

// remember plays kept sessions that rules about several sessions may still need.
func (r *ruling) remember(ctx context.Context, st *store.Store) error {
	if r.window == 0 {
		return nil
	}
	newest, ok, err := st.Newest(ctx)
	if err != nil || !ok {
		return err
	}
	for s, err := range st.Sessions(ctx, store.Query{Since: newest.Add(-r.window)}) {
		if err != nil {
			return fmt.Errorf("rules: read kept sessions: %w", err)
		}
		r.engine.Remember(s)
	}
	return nil
}

// judge returns the findings to store with a batch: those that it brings, and
// those of earlier batches that could not be stored.
func (r *ruling) judge(observations []event.Observation, revisions []session.Revision) []finding.Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rev := range revisions {
		r.add(r.engine.Observe(rev.Session))
	}
	var now time.Time
	for _, o := range observations {
		r.add(r.engine.Hear(o))
		if t := o.Head().Time; t.After(now) {
			now = t
		}
	}
	r.add(r.engine.Advance(now))
	return r.unsaved
}

// due returns when time alone will bring findings; zero means never.
func (r *ruling) due() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.engine.Due()
}

// add keeps, mu held, findings until they are stored. One that has no JSON form
// would keep all the others from being stored.
func (r *ruling) add(found []finding.Finding) {
	for _, f := range found {
		if _, err := json.Marshal(f); err != nil {
			r.log.Error("a finding cannot be stored", slog.String("rule", f.Rule), slog.String("session", string(f.Session)), slog.Any("error", err))
			r.status.Dropped++
			continue
		}
		r.unsaved = append(r.unsaved, f)
	}
	if over := len(r.unsaved) - unsavedFindingsMax; over > 0 {
		r.status.Dropped += uint64(over)
		r.unsaved = append([]finding.Finding(nil), r.unsaved[over:]...)
	}
}

// stored says that a batch is durable, and which of its findings were new.
func (r *ruling) stored(batch int, added []finding.Finding) {
	r.mu.Lock()
	r.unsaved = append([]finding.Finding(nil), r.unsaved[batch:]...)
	r.status.Findings += uint64(len(added))
	r.mu.Unlock()
	if len(added) == 0 {
		return
	}
	select {
	case r.told <- added:
	default: // whoever prints is slow; the store has them
	}
}

// run loads the rules again on SIGHUP and prints findings, until ctx ends.
func (r *ruling) run(ctx context.Context, say func([]finding.Finding)) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case found := <-r.told:
			say(found)
		case <-hup:
			r.reload()
		}
	}
}

// reload loads the rules again. When they are broken, those that are at work
// stay.
func (r *ruling) reload() {
	set, err := r.load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.status.Error = err.Error()
		r.status.Failed++
		r.log.Error("rules could not be loaded again; the ones before stay at work", slog.Any("error", err))
		return
	}
	r.engine.Use(set)
	r.loaded(set)
	r.log.Warn("rules loaded again", slog.Int("rules", r.status.Rules))
}

// state returns what is known of the rules.
func (r *ruling) state() *watch.Rules {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Stats = r.engine.Stats()
	return &s
}
