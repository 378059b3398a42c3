package tell

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
)

const (
	lineMax   = 4 << 20 // bytes of an observation
	guardsMax = 16      // at once

	// onTheWay bounds how long what a guard says is on its way: it is sent at once.
	onTheWay = 2 * time.Second
)

// Listener is the witness of the guards of this host: it gives what they tell.
type Listener struct {
	Path string
	// Peer says who connected.
	Peer   func(net.Conn) event.Peer
	Logger *slog.Logger
}

// Run listens until ctx ends. Until the first guard is there it says nothing. Only
// processes of root and of its own user are heard.
func (l *Listener) Run(ctx context.Context, emit func(event.Observation)) error {
	if err := os.Remove(l.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen for guards: %w", err)
	}
	socket, err := new(net.ListenConfig).Listen(ctx, "unix", l.Path)
	if err != nil {
		return fmt.Errorf("listen for guards: %w", err)
	}
	if err := os.Chmod(l.Path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("listen for guards: %w", err), socket.Close())
	}
	defer socket.Close() // when Run returns the name is gone, and free for the next one
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	heard := &heard{emit: emit}
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := socket.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen for guards: %w", err)
		}
		all.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			if err := l.hear(ctx, c, heard); err != nil && ctx.Err() == nil {
				l.Logger.Warn("a guard is heard no more", slog.Any("error", err))
			}
		})
	}
}

// hear gives what one guard tells.
func (l *Listener) hear(ctx context.Context, c net.Conn, h *heard) error {
	peer := l.Peer(c)
	if uid := peer.Cred.UID; !peer.HasCred() || peer.ID.PID == 0 || uid != 0 && uid != uint32(os.Geteuid()) {
		return fmt.Errorf("uid %d may tell nothing here", uid)
	}
	lines := bufio.NewScanner(c)
	lines.Buffer(make([]byte, 0, 64<<10), lineMax+1)
	if !lines.Scan() {
		return lines.Err()
	}
	first, err := parse(lines.Bytes())
	if err != nil {
		return err
	}
	up, ok := first.(event.WitnessState)
	if !ok || !up.Up {
		return fmt.Errorf("it begins with %s", event.Name(first))
	}
	if err := h.come(peer.ID, up); err != nil {
		return err
	}
	whole := false
	defer func() {
		if ctx.Err() == nil {
			h.leave(peer.ID, whole)
		}
	}()
	for lines.Scan() {
		o, err := parse(lines.Bytes())
		if err != nil {
			return err
		}
		if _, whole = o.(event.WitnessState); whole {
			return nil
		}
		h.emit(o)
	}
	return cmp.Or(lines.Err(), errors.New("it ended without a word"))
}

// parse reads what a guard tells: of itself, and of what passes it.
func parse(line []byte) (event.Observation, error) {
	o, err := event.Unmarshal(line)
	if err != nil {
		return nil, err
	}
	if h := o.Head(); h.Witness != event.WitnessGuard || h.Node != "" || h.Time.IsZero() {
		return nil, fmt.Errorf("observation of witness %q, node %q, time %s", h.Witness, h.Node, h.Time)
	}
	switch o.(type) {
	case event.ClientConnect, event.ClientClose, event.DockerRequest, event.DockerAnswer, event.Decision, event.Loss, event.WitnessState:
		return o, nil
	}
	return nil, fmt.Errorf("a guard has no %s to tell", event.Name(o))
}

// heard is which guards there are.
type heard struct {
	emit func(event.Observation)

	mu     sync.Mutex
	guards []event.ProcessID // guarded by mu
}

// come says that one more guard is there; from its state only From counts.
func (h *heard) come(id event.ProcessID, up event.WitnessState) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.guards) >= guardsMax {
		return fmt.Errorf("there are %d guards already", len(h.guards))
	}
	h.guards = append(h.guards, id)
	h.say(event.WitnessState{Up: true, From: up.From})
	return nil
}

// leave says that a guard is gone; whole says that it told everything before.
func (h *heard) leave(id event.ProcessID, whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, g := range h.guards {
		if g == id {
			h.guards = append(h.guards[:i:i], h.guards[i+1:]...)
			break
		}
	}
	if now := time.Now().UTC(); !whole {
		h.emit(event.Loss{Header: event.Header{Time: now, Witness: event.WitnessGuard}, From: now.Add(-onTheWay), What: "requests"})
	}
	h.say(event.WitnessState{Up: len(h.guards) > 0, Reason: fmt.Sprintf("the guard with pid %d is gone", id.PID)})
}

// say gives a state, mu held.
func (h *heard) say(s event.WitnessState) {
	s.Header = event.Header{Time: time.Now().UTC(), Witness: event.WitnessGuard}
	s.Guards = append(s.Guards, h.guards...)
	h.emit(s)
}
