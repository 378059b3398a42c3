package starts

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/admission"
)

// TestStarts: a second exec that cannot be told from the first waits until the
// kernel has seen the first one's process in that pod's container.
func TestStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(admission.GateOptions{})
		head := func(w event.Witness) event.Header { return event.Header{Time: time.Now(), Witness: w} }
		pass := func(nonce string) <-chan bool {
			gone := make(chan bool, 1)
			go func() {
				_, alone := s.Gate.Pass(context.Background(), nonce, admission.Command{Namespace: "ns", Pod: "web", Container: "app", Argv: []string{"id"}})
				gone <- alone
			}()
			synctest.Wait()
			return gone
		}
		pass("0")
		if alone := <-pass("1"); alone {
			t.Error("alone beside another")
		}
		s.Gate.Over("0")
		s.Gate.Over("1")

		s.See(event.WitnessState{Header: head(event.WitnessKernel), Up: true})
		s.See(event.RuntimeContainer{Header: head(event.WitnessContainerd), ID: "c1", Pod: "web", PodNamespace: "ns", Name: "app"})
		pass("2")
		second := pass("3")
		id := event.ProcessID{PID: 9, Start: 9}
		s.See(event.ProcessExec{Header: head(event.WitnessKernel), ID: event.ProcessID{PID: 10}, Entry: id, Container: "c1", Argv: event.Argv{Args: []string{"id"}}})
		if len(second) != 0 {
			t.Error("a child was taken for the command")
		}
		s.See(event.ProcessExec{Header: head(event.WitnessKernel), ID: id, Entry: id, Container: "c1", Argv: event.Argv{Args: []string{"id"}}})
		synctest.Wait()
		if len(second) != 1 || !<-second {
			t.Error("the second did not go alone after the first had started")
		}
		third := pass("4")
		s.See(event.KubeRequest{Header: head(event.WitnessAudit), Nonce: "3", Stage: event.KubeComplete, Code: 403})
		synctest.Wait()
		if len(third) != 1 || !<-third {
			t.Error("the third did not go alone after the second was refused")
		}
		s.See(event.RuntimeEvent{Action: event.RuntimeDelete, Container: "c1"})
		if s.Covers("ns", "web") || len(s.containers)+len(s.pods) != 0 {
			t.Error("a container that is gone is still covered")
		}
	})
}

// TestFirstProbe: a probe that ran before the pod's specification was known tells
// all the same when the next is due, and a request for its command waits for that.
func TestFirstProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(admission.GateOptions{})
		head := func(w event.Witness) event.Header { return event.Header{Time: time.Now(), Witness: w} }
		check, limit := []string{"check"}, int64(1)
		probe := func() {
			s.See(event.RuntimeRequest{
				Header: head(event.WitnessKernel), Service: event.ServiceContainerd, API: event.APICRI, Op: event.RuntimeOpExecSync,
				Container: "c1", Argv: check, Timeout: &limit,
			})
			time.Sleep(time.Millisecond)
			s.See(event.RuntimeEvent{
				Header: head(event.WitnessContainerd), Action: event.RuntimeExecAdded, Container: "c1", ExecID: event.ExecID(strings.Repeat("a", criExecID)),
			})
		}
		s.See(event.WitnessState{Header: head(event.WitnessKernel), Up: true})
		s.See(event.RuntimeContainer{Header: head(event.WitnessContainerd), ID: "c1", Pod: "web", PodNamespace: "ns", Name: "app"})
		probe()
		time.Sleep(30 * time.Millisecond)
		s.See(event.KubePod{Header: head(event.WitnessKube), Namespace: "ns", Name: "web", Containers: []event.KubeContainer{
			{ID: "c1", Name: "app", Hooks: []event.KubeHook{{Argv: check, Period: event.Duration(4 * time.Second)}}},
		}})
		time.Sleep(3950 * time.Millisecond)
		gone := make(chan time.Time, 1)
		go func() {
			at, _ := s.Gate.Pass(context.Background(), "1", admission.Command{Namespace: "ns", Pod: "web", Container: "app", Argv: check})
			gone <- at
		}()
		time.Sleep(20 * time.Millisecond)
		if len(gone) != 0 {
			t.Error("a request went although a probe with its command was due")
		}
		probe()
		time.Sleep(20 * time.Millisecond)
		if len(gone) == 0 {
			t.Error("the probe has begun, and the request still waits")
		}
		synctest.Wait()
		<-gone
	})
}
