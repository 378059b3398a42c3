package watch

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/core/correlate"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/playback"
	"github.com/sallyport/sallyport/internal/core/session"
)

// slowKernel is a kernel sensor that sees nobody and for ten seconds does not get
// to read; checks is a Docker daemon that runs a health check meanwhile.
func slowKernel(ctx context.Context, emit func(event.Observation)) error {
	emit(event.WitnessState{Header: head(event.WitnessKernel), Up: true, From: time.Now().UTC(), Peers: true})
	for began := time.Now(); ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if past := time.Since(began); past < time.Second || past > 11*time.Second {
			emit(event.Progress{Header: head(event.WitnessKernel), Through: time.Now().UTC()})
		}
	}
	return nil
}

func checks(ctx context.Context, emit func(event.Observation)) error {
	web := event.ContainerID(strings.Repeat("a", 64))
	emit(event.WitnessState{Header: head(event.WitnessDocker), Up: true, From: time.Now().UTC(), DaemonPID: 77})
	emit(event.DockerContainer{Header: head(event.WitnessDocker), ID: web, Name: "web", Health: &event.Healthcheck{Argv: []string{"/bin/check"}}})
	time.Sleep(3 * time.Second)
	for _, a := range []event.DockerAction{event.DockerExecCreate, event.DockerExecStart, event.DockerExecDie} {
		emit(event.DockerEvent{Header: head(event.WitnessDocker), Action: a, Container: web, ExecID: event.ExecID(strings.Repeat("b", 64)), Command: "/bin/check"})
		time.Sleep(time.Millisecond)
	}
	<-ctx.Done()
	return nil
}

// TestHowFarTheKernelIsRead: correlation hears it, nobody counts it, and as much of
// it is kept as who plays what was kept needs to be no wiser than correlation was.
func TestHowFarTheKernelIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		witnesses := []Named{{Name: event.WitnessKernel, Witness: witnessFunc(slowKernel)}, {Name: event.WitnessDocker, Witness: witnessFunc(checks)}}
		e, stop := running(t, Options{Witnesses: witnesses, Keeper: m})
		began := time.Now()
		time.Sleep(time.Minute)
		for _, w := range e.Status().Witnesses {
			if w.Name == event.WitnessKernel && w.Observations != 1 {
				t.Errorf("counted: %d observations", w.Observations)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		leftOpenUntilRead(t, m.revisions)
		var again []session.Revision
		p := playback.New(correlate.NewFleet(correlate.Options{}))
		for _, o := range m.observations {
			again = append(again, p.Observe(o)...)
		}
		leftOpenUntilRead(t, append(again, p.Flush()...))
		if n := len(progress(m.observations)); n < 3 || n > 40 { // of some 500 in a minute with three moments
			t.Errorf("kept %d times", n)
		}
		if last := progress(m.observations); last[len(last)-1].Through.Sub(began) > 15*time.Second {
			t.Errorf("kept while nothing happens: %+v", last[len(last)-1])
		}
	})
}

func progress(list []event.Observation) (out []event.Progress) {
	for _, o := range list {
		if p, ok := o.(event.Progress); ok {
			out = append(out, p)
		}
	}
	return out
}

// leftOpenUntilRead wants of the health check first a revision that leaves open who
// asked, and at last one that says it.
func leftOpenUntilRead(t *testing.T, revisions []session.Revision) {
	t.Helper()
	if len(revisions) < 2 || revisions[0].Session.Attribution.Level != session.LevelSet || revisions[len(revisions)-1].Session.Attribution.Level != session.LevelStrong {
		t.Errorf("%d revisions: %+v", len(revisions), revisions)
	}
}

func TestCaptureHasHowFarTheKernelIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var kept []event.Observation
		err := Capture(ctx, Options{Host: nobody{}, Witnesses: []Named{{Name: event.WitnessKernel, Witness: witnessFunc(slowKernel)}}}, func(o event.Observation) error {
			kept = append(kept, o)
			return nil
		})
		if n := len(progress(kept)); err != nil || n < 2 || n > 15 {
			t.Errorf("kept %d times, %v", n, err)
		}
	})
}

// sink is the way to a collector.
type sink struct{ put []event.Observation }

func (s *sink) Put(o event.Observation) error { s.put = append(s.put, o); return nil }
func (s *sink) Beat(time.Time)                {}
func (s *sink) Newest() (time.Time, bool)     { return time.Time{}, false }

func TestNodeSaysHowFarTheKernelIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		_, stop := running(t, Options{Sink: s, Witnesses: []Named{{Name: event.WitnessKernel, Witness: witnessFunc(slowKernel)}}})
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := len(progress(s.put)); n < 2 || n > 15 {
			t.Errorf("said %d times", n)
		}
	})
}
