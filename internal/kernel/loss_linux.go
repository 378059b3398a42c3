//go:build linux && (amd64 || arm64)

package kernel

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
)

const bpfStatsRunTime = unix.BPF_STATS_RUN_TIME

// streams name the kernel side's streams, in its order.
var streams = [...]string{"process", "requests"}

// losses reports what was lost since the last time.
type losses struct {
	last map[Lost]uint64 // by CPU and stream; Count is 0 in the key
	at   time.Time
}

// poll reads the counters. A loss lies between the last poll and this one.
func (l *losses) poll(m *ebpf.Map, now time.Time) []event.Observation {
	from := l.at
	l.at = now
	all, err := readLost(m)
	if err != nil || from.IsZero() && len(all) == 0 {
		return nil
	}
	if l.last == nil {
		l.last = map[Lost]uint64{}
	}
	var out []event.Observation
	for _, v := range all {
		key := Lost{CPU: v.CPU, Stream: v.Stream}
		if n := v.Count - l.last[key]; n > 0 {
			out = append(out, event.Loss{
				Header: event.Header{Time: now, Witness: event.WitnessKernel},
				From:   from, Count: n, CPU: &key.CPU, What: v.Stream,
			})
			l.last[key] = v.Count
		}
	}
	return out
}

// readLost lists the counters that are not zero.
func readLost(m *ebpf.Map) ([]Lost, error) {
	var perCPU []sensorLost
	if err := m.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("read loss counters: %w", err)
	}
	var out []Lost
	for cpu, l := range perCPU {
		for i, n := range l.Count {
			if n > 0 {
				out = append(out, Lost{CPU: cpu, Stream: streams[i], Count: n})
			}
		}
	}
	return out, nil
}

// programCosts reads the kernel's statistics of the programs.
func programCosts(objs *sensorObjects) []Program {
	var out []Program
	for _, p := range []struct {
		name string
		prog *ebpf.Program
	}{
		{"fork", objs.OnFork}, {"exec", objs.OnExec}, {"exit", objs.OnExit},
		{"connect_unix", objs.OnConnect}, {"sock_recv", objs.OnRecv}, {"sock_send", objs.OnSend},
		{"tcp_state", objs.OnTcpState},
	} {
		st, err := p.prog.Stats()
		if err != nil {
			continue
		}
		out = append(out, Program{Name: p.name, Runs: st.RunCount, Time: st.Runtime})
	}
	return out
}
