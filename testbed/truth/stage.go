package truth

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	"github.com/sallyport/sallyport/internal/replay"
	"github.com/sallyport/sallyport/internal/store"
)

// Stage is what truly happened in one storm.
type Stage struct {
	Mode    Mode                `json:"mode"`
	Deeds   []Deed              `json:"deeds"`
	Watched []event.ContainerID `json:"watched"`
	// Until is when the harness stopped taking notes: what began before is in
	// Deeds.
	Until time.Time `json:"until"`
}

const stageFile = "stage.json"

// Keep writes the stage into the directory of its storm, where Again finds it.
func (s Stage) Keep(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stageFile), b, 0o644)
}

// ReadStage reads the stage of a storm.
func ReadStage(dir string) (Stage, error) {
	b, err := os.ReadFile(filepath.Join(dir, stageFile))
	if err != nil {
		return Stage{}, err
	}
	var s Stage
	if err := json.Unmarshal(b, &s); err != nil {
		return Stage{}, fmt.Errorf("%s: %w", stageFile, err)
	}
	return s, nil
}

// Replay gives what today's engine makes of the observations that `up` kept in
// the directory of a storm: every revision of every session, in order.
func Replay(ctx context.Context, dir string) (revisions []session.Session, err error) {
	r, err := store.OpenReadOnly(filepath.Join(dir, "state"))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, err = replay.Play(r.Observations(ctx, time.Time{}, time.Time{}), correlate.Options{}, func(r session.Revision) error {
		revisions = append(revisions, r.Session)
		return nil
	})
	return revisions, err
}

// Last returns the last revision of each session, in the order of the first.
func Last(revisions []session.Session) []session.Session {
	at := make(map[session.ID]int)
	var out []session.Session
	for _, s := range revisions {
		if i, ok := at[s.ID]; ok {
			out[i] = s
			continue
		}
		at[s.ID] = len(out)
		out = append(out, s)
	}
	return out
}
