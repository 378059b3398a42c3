package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed/vm"
)

// host probes the kernel, runs the sensor and prints the report.
func host(args []string) error {
	r := &vm.Report{Missing: map[string]string{}, Inits: map[event.ContainerID]uint32{}, Clients: map[uint32]uint32{}}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	r.Kernel = unix.ByteSliceToString(name.Release[:])
	features := kernel.Probe()
	r.Level = features.Level()
	for _, f := range features {
		if f.Err != nil {
			r.Missing[f.Name] = f.Err.Error()
		}
	}
	act := watch
	if slices.Contains(args, vm.StartOnly) {
		act = startSensor
	}
	for _, a := range args {
		if hook, ok := strings.CutPrefix(a, vm.GateAt); ok {
			act = func(r *vm.Report) error { return playGate(r, kernel.GateHook(hook)) }
		}
	}
	if err := act(r); err != nil {
		r.Error = err.Error()
	}
	doc, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\n%s\n%s\n", vm.BeginReport, doc, vm.EndReport)
	return nil
}

// startSensor stops the sensor as soon as it is up.
func startSensor(r *vm.Report) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return kernel.New(kernel.Options{}).Run(ctx, func(o event.Observation) {
		if up, ok := o.(event.WitnessState); ok && up.Up {
			cancel()
		}
	})
}

// watch plays the scenario before a sensor.
func watch(r *vm.Report) error {
	w := &witness{report: r}
	s := scene{witness: w}
	defer s.end()
	if err := s.before(); err != nil {
		return fmt.Errorf("before the sensor: %w", err)
	}
	w.sensor = kernel.New(kernel.Options{
		Requests:  kernel.ModeAlways,
		Sockets:   []kernel.Socket{{Service: event.ServiceDocker, Path: vm.Socket}},
		Ports:     []kernel.Port{{Service: event.ServiceDocker, Address: netip.MustParseAddrPort(vm.TCPDoor), Plain: true}},
		OnSegment: w.segment,
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := w.sensor.Run(ctx, w.emit)
		w.ended(err)
		done <- err
	}()
	err := s.play()
	r.Status = w.sensor.Status()
	cancel()
	return errors.Join(err, <-done)
}

// witness keeps what the sensor emits.
type witness struct {
	report *vm.Report
	sensor *kernel.Sensor

	mu    sync.Mutex
	seen  []event.Observation // guarded by mu
	cause error               // guarded by mu; set when the sensor has ended
}

func (w *witness) emit(o event.Observation) {
	b, err := event.Marshal(o)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, o)
	w.report.Observations = append(w.report.Observations, b)
	if err != nil {
		w.cause = err
	}
}

func (w *witness) segment(s event.Segment) []event.Observation {
	s.Data = slices.Clone(s.Data)
	w.report.Segments = append(w.report.Segments, s)
	return nil
}

func (w *witness) ended(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cause = errors.Join(errors.New("the sensor has ended"), err)
}

// await waits until an observation has been emitted of which is says that it is
// the one; at most half a minute, because emulation is slow.
func (w *witness) await(what string, is func(event.Observation) bool) error {
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		w.mu.Lock()
		found, cause := slices.ContainsFunc(w.seen, is), w.cause
		w.mu.Unlock()
		switch {
		case found:
			return nil
		case cause != nil:
			return fmt.Errorf("wait for %s: %w", what, cause)
		case time.Now().After(deadline):
			return fmt.Errorf("wait for %s: not seen", what)
		}
	}
}

// awaitFile waits until a file has content and returns it.
func awaitFile(name string) (string, error) {
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); ; <-tick {
		b, err := os.ReadFile(name)
		if err == nil && len(b) > 0 {
			return string(b), nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("wait for %s: %w", name, os.ErrDeadlineExceeded)
		}
	}
}
