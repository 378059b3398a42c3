package guard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/cli/config"
	"github.com/sallyport/sallyport/internal/cli/exit"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
	dockerdoor "github.com/sallyport/sallyport/internal/docker/door"
	"github.com/sallyport/sallyport/internal/recording"
	"github.com/sallyport/sallyport/internal/store"
)

// recordingFlags returns the flags that say how sessions are recorded: those of
// the configuration's recording.*.
func recordingFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("recording", pflag.ContinueOnError)
	f.String("recording-mode", "", "what cannot be recorded does not run (strict), or its gaps are marked (lenient): `MODE` (default strict)")
	f.String("recording-input", "", "standard input is not recorded (none), or as far as a terminal shows it (echoed): `INPUT` (default none)")
	f.String("recording-recipients", "", "age public `KEYS` of those who may read recordings (default: they are in clear)")
	f.String("recording-age", "", "keep recordings for `DURATION` after the last byte (default 30d)")
	f.String("recording-size", "", "keep at most `SIZE` of recordings (default 10GiB)")
	return f
}

// guardRecords is where a guard records: a state directory of its own, whose
// ledger proves the recordings.
type guardRecords struct {
	conf    config.Config
	lenient bool
	log     *slog.Logger
	store   *store.Store
	set     *recording.Recordings
}

// openGuardRecords opens the state directory. A guard that only observes records
// leniently: it stops nothing.
func openGuardRecords(ctx context.Context, conf config.Config, dir string, enforce bool, log *slog.Logger) (*guardRecords, error) {
	conf.State = dir
	st, err := statedir.Store(conf.State)
	var locked *store.LockedError
	if errors.As(err, &locked) {
		return nil, exit.Fail(exit.Usage, "a guard needs a directory of its own: name another with --record", "%w", err)
	}
	if err != nil {
		return nil, err
	}
	set, err := statedir.OpenRecordings(ctx, conf.State, conf.RecordingRecipients, st, log)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &guardRecords{conf: conf, lenient: !enforce || conf.RecordingMode == config.RecordLenient, log: log, store: st, set: set}, nil
}

func (g *guardRecords) close() error { return errors.Join(g.set.Close(), g.store.Close()) }

// pruneEvery is how often a guard looks for recordings that retention takes.
const pruneEvery = time.Hour

// prune takes away what retention does not keep, until ctx ends.
func (g *guardRecords) prune(ctx context.Context) error {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		if _, err := g.set.Prune(ctx, g.conf.Recordings()); err != nil && ctx.Err() == nil {
			g.log.Error("recordings could not be pruned", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Ready implements dockerdoor.Recorder.
func (g *guardRecords) Ready() error {
	if g.lenient {
		return nil
	}
	return plainly(g.set.Ready())
}

// plainly leaves out of an error where recordings lie: whoever is refused need not
// know.
func plainly(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return fmt.Errorf("nothing can be written: %w", at.Err)
	}
	return err
}

// Record implements dockerdoor.Recorder.
func (g *guardRecords) Record(s *session.Session) (dockerdoor.Recording, error) {
	taped := &guardRecording{lenient: g.lenient}
	var err error
	switch {
	case s.Kind == session.KindCopy:
		taped.skip = "what is copied is not recorded"
	case s.Channel == event.ChannelDockerAttachWS:
		taped.skip = "streams by WebSocket are not recorded"
		err = errors.New(taped.skip)
	}
	if err == nil || g.lenient {
		taped.rec, err = g.set.Begin(context.Background(), g.header(s))
	}
	switch {
	case err == nil:
		return taped, nil
	case g.lenient:
		g.log.Error("a session is not recorded", slog.String("request", string(s.ID)), slog.Any("error", err))
		return nil, nil
	}
	return nil, plainly(err)
}

func (g *guardRecords) header(s *session.Session) recording.Header {
	h := recording.Header{
		Session: s.ID, Exec: s.ExecID, Kind: s.Kind, Channel: s.Channel, TTY: s.TTY, Path: event.Text(s.Path), Into: s.Direction == "in",
		Actor: s.Actor, Target: s.Target, Input: recording.Input(g.conf.RecordingInput), Lenient: g.lenient,
	}
	for _, a := range s.Argv {
		h.Argv = append(h.Argv, event.Text(a))
	}
	return h
}

// guardRecording is a recording of what passes the guard.
type guardRecording struct {
	rec     *recording.Recorder
	lenient bool
	skip    string           // why bytes are only counted; "" when they are kept
	passed  [3]atomic.Uint64 // what was counted, by stream
}

// Write implements dockerdoor.Recording.
func (g *guardRecording) Write(s dockerdoor.Stream, p []byte) error {
	if g.skip != "" {
		g.passed[s].Add(uint64(len(p)))
		return nil
	}
	return plainly(g.rec.Write(recording.Stream(s), p))
}

// Flush implements dockerdoor.Recording. Strict means that nobody sees what is not
// recorded, even if the guard is killed at once; lenient leaves out the cost.
func (g *guardRecording) Flush() error {
	if g.lenient || g.skip != "" {
		return nil
	}
	return plainly(g.rec.Flush())
}

// Resize implements dockerdoor.Recording.
func (g *guardRecording) Resize(cols, rows uint16) {
	_ = g.rec.Resize(recording.Size{Cols: cols, Rows: rows})
}

// Close implements dockerdoor.Recording.
func (g *guardRecording) Close(e dockerdoor.End) error {
	var err error
	for s := range g.passed {
		if n := g.passed[s].Load(); n > 0 {
			err = errors.Join(err, g.rec.Skip(recording.Stream(s), n, g.skip))
		}
	}
	return errors.Join(err, g.rec.End(context.Background(), recording.End{Exit: e.Exit, Why: e.Why}))
}
