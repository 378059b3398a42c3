package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/bus/tell"
	"github.com/sallyport/sallyport/internal/cli/statedir"
	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/internal/watch"
)

// Guards is the witness of the guards of this host; they may never come.
func Guards(state string, log *slog.Logger) watch.Named {
	return watch.Named{Name: event.WitnessGuard, Optional: true, Witness: guardsWitness{&tell.Listener{
		Path: filepath.Join(state, statedir.Guards), Logger: log, Peer: func(c net.Conn) event.Peer {
			_, p := kernel.SocketPeer(c)
			p.ID = kernel.ProcessOf(p.ID.PID)
			return p
		},
	}}}
}

// guardsWitness is a listener for guards as a witness.
type guardsWitness struct{ *tell.Listener }

// pathMax bounds the path of a unix socket, unix(7).
const pathMax = 107

// Run implements watch.Witness.
func (w guardsWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	if len(w.Path) > pathMax {
		return fmt.Errorf("%w: guards cannot tell here, since %s is too long a path for a socket", watch.ErrUnavailable, w.Path)
	}
	return w.Listener.Run(ctx, emit)
}

// Gate is the witness of the socket gate that is pinned in dir, whenever there is one.
func Gate(dir string) watch.Named {
	return watch.Named{Name: event.WitnessGate, Optional: true, Witness: gateWitness{kernel.NewGate(dir)}}
}

// gateWitness is the socket gate as a witness.
type gateWitness struct{ *kernel.Gate }

// gateEvery is how often it is looked whether there is a gate, and whether it lost
// anything.
const gateEvery = 5 * time.Second

// Run implements watch.Witness.
func (w gateWitness) Run(ctx context.Context, emit func(event.Observation)) error {
	look := time.NewTicker(gateEvery)
	defer look.Stop()
	for {
		up, err := w.follow(ctx, emit)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%w: %w", watch.ErrUnavailable, err)
		case !errors.Is(err, kernel.ErrGateOff):
			return err
		case up:
			emit(event.WitnessState{Header: gateHead(), Reason: "the gate was switched off, or on anew"})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// follow gives what the gate sees until it is switched off, and what of it found no
// room before it was read. up says that there was a gate.
func (w gateWitness) follow(ctx context.Context, emit func(event.Observation)) (up bool, err error) {
	status, err := w.Status()
	if err != nil {
		return false, err
	}
	emit(event.WitnessState{Header: gateHead(), Up: true, From: status.Since})
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { w.losses(ctx, emit, status.Since) })
	return true, w.Follow(ctx, func(s event.GateSighting) error {
		emit(s)
		return nil
	})
}

// losses tells how many sightings found no room, since then and whenever it is more.
func (w gateWitness) losses(ctx context.Context, emit func(event.Observation), since time.Time) {
	look := time.NewTicker(gateEvery)
	defer look.Stop()
	for told := uint64(0); ; {
		now := gateHead()
		if s, err := w.Status(); err == nil && s.Counts.Lost > told {
			emit(event.Loss{Header: now, From: since, Count: s.Counts.Lost - told, What: "events"})
			told = s.Counts.Lost
		}
		since = now.Time
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

func gateHead() event.Header {
	return event.Header{Time: time.Now().UTC(), Witness: event.WitnessGate}
}
