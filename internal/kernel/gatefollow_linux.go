//go:build linux && (amd64 || arm64)

package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/sallyport/sallyport/internal/core/event"
)

// gateLooks is how often a follower looks whether the gate is still there.
const gateLooks = time.Second

// Follow calls emit for everybody whom the gate does not let through, those
// included whom nobody has followed yet, until ctx ends, emit fails, or the gate
// is switched off or made anew (ErrGateOff). Two followers share the sightings.
func (g *Gate) Follow(ctx context.Context, emit func(event.GateSighting) error) error {
	status, err := g.about()
	if err != nil {
		return err
	}
	ring, err := g.open(gateMapRing)
	if err != nil {
		return err
	}
	defer ring.Close()
	r, err := ringbuf.NewReader(ring)
	if err != nil {
		return fmt.Errorf("follow gate: %w", err)
	}
	defer r.Close()
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	var clock clock
	for {
		r.SetDeadline(time.Now().Add(gateLooks))
		rec, err := r.Read()
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if now, err := g.about(); err != nil || !now.Since.Equal(status.Since) {
				return ErrGateOff
			}
			continue
		case err != nil:
			return fmt.Errorf("follow gate: %w", err)
		}
		if err := clock.remeasure(); err != nil {
			return err
		}
		s, at, err := decodeSighting(rec.RawSample, status.Sockets)
		if err != nil {
			return err
		}
		s.Time, s.Witness = clock.wall(at), event.WitnessGate
		if err := emit(s); err != nil {
			return err
		}
	}
}

var gateVerdicts = map[gateVerdict]event.GateVerdict{
	gateVerdictVERDICT_SEEN: event.GateSeen, gateVerdictVERDICT_REFUSED: event.GateRefused, gateVerdictVERDICT_KILLED: event.GateKilled,
}

// decodeSighting reads a record of the gate's ring, and when it was made, as time since
// boot.
func decodeSighting(b []byte, sockets []string) (s event.GateSighting, at uint64, err error) {
	v, _, err := fixed[gateSighting](b)
	if err != nil {
		return s, 0, fmt.Errorf("gate's record: %w", err)
	}
	verdict, known := gateVerdicts[gateVerdict(v.Verdict)]
	if !known || v.Socket == 0 || int(v.Socket) > len(sockets) || int(v.ExeLen) > len(v.Exe) || int(v.CgroupLen) > len(v.Cgroup) {
		return s, 0, fmt.Errorf("gate's record: verdict %d on socket %d, exe of %d bytes, cgroup of %d", v.Verdict, v.Socket, v.ExeLen, v.CgroupLen)
	}
	cgroup := names(v.Cgroup[:v.CgroupLen])
	container, _ := containerOf(cgroup)
	slices.Reverse(cgroup)
	return event.GateSighting{
		Verdict: verdict,
		Socket:  event.Text(sockets[v.Socket-1]),
		Asked:   event.Text(text(v.Asked[:])),
		Peer: event.Peer{
			ID:        event.ProcessID{PID: v.Id.Pid, Start: v.Id.Start},
			Cred:      sensorIdentity{Uid: v.Who.Uid, Gid: v.Who.Gid, Loginuid: v.Who.Loginuid, Session: v.Who.Session}.event(),
			Exe:       event.Text(path(v.Exe[:v.ExeLen], v.Flags)),
			Comm:      event.Text(text(v.Comm[:])),
			Container: container,
		},
		Cgroup: strings.Join(cgroup, "/"),
	}, v.Time, nil
}
