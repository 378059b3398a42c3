package docker_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/docker"
	"github.com/sallyport/sallyport/internal/kernel"
	"github.com/sallyport/sallyport/testbed"
	bed "github.com/sallyport/sallyport/testbed/docker"
)

// What the kernel sensor samples of the docker command line is enough: every
// exec has its create with the id and its start, all certain.
func TestRequestsFromKernel(t *testing.T) {
	testbed.Require(t, testbed.BPF)
	e := bed.Shared(t)
	id := e.RunT(t, bed.Image)
	parser := docker.NewRequests(docker.RequestOptions{})
	sensor := kernel.New(kernel.Options{
		Requests: kernel.ModeAlways, OnSegment: parser.Segment,
		Sockets: []kernel.Socket{{Service: event.ServiceDocker, Path: e.Socket}},
	})
	var mu sync.Mutex
	up := make(chan struct{})
	created, started := map[string]uint32{}, map[string]uint32{} // exec id: uid
	requests := map[event.RequestID]event.DockerRequest{}
	emit := func(o event.Observation) {
		mu.Lock()
		defer mu.Unlock()
		switch o := o.(type) {
		case event.WitnessState:
			if o.Requests && up != nil {
				close(up)
				up = nil
			}
		case event.DockerRequest:
			requests[o.ID] = o
			if !o.Certain {
				t.Errorf("not certain: %+v", o)
			}
			if o.Op == event.OpExecStart {
				started[string(o.ExecID)] = o.Peer.Cred.UID
			}
		case event.DockerAnswer:
			if o.Op == event.OpExecCreate && strings.HasPrefix(strings.Join(requests[o.ID].Argv, " "), "/bin/busybox true ") {
				created[o.Created] = requests[o.ID].Peer.Cred.UID
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	ready := up
	go func() { done <- sensor.Run(ctx, emit) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("sensor: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("sensor is not up")
	}
	const users, each = 3, 5
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			for range each {
				if _, err := bed.Output(bed.As(e.CLI(t.Context(), "exec", id, "/bin/busybox", "true", "x"), uint32(2000+u))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	deadline := time.Now().Add(20 * time.Second)
	complete := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(started) == users*each && len(created) == users*each
	}
	for tick := time.NewTicker(20 * time.Millisecond); !complete() && time.Now().Before(deadline); {
		<-tick.C
	}
	cancel()
	if err := <-done; err != nil && err != context.Canceled {
		t.Error(err)
	}
	if !complete() {
		t.Errorf("%d created, %d started, want %d", len(created), len(started), users*each)
	}
	for x, uid := range created {
		if started[x] != uid || uid < 2000 {
			t.Errorf("exec %.12s created by %d, started by %d", x, uid, started[x])
		}
	}
	t.Logf("%+v", parser.Stats())
}
