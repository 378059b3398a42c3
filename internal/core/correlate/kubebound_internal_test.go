package correlate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/core/session"
)

// Streams whose end nobody tells do not pile up.
func TestCallsAreBounded(t *testing.T) {
	e := New(Options{})
	e.Observe(event.WitnessState{Header: event.Header{Time: noon, Witness: event.WitnessAudit}, Up: true})
	tell := func(i int, stage event.KubeStage, at time.Time) []session.Revision {
		return e.Observe(event.KubeRequest{
			Header: event.Header{Time: at, Witness: event.WitnessAudit}, ID: event.AuditID(fmt.Sprint(i)), Stage: stage, Received: forwarded(i),
			Op: event.KubePortForward, Verb: "create", URI: "/", User: event.KubeUser{Name: "ana"}, Code: 101, Namespace: "shop", Pod: fmt.Sprint("web-", i), Nonce: fmt.Sprint(i),
		})
	}
	const all, most = 8*callsMax + 10, 5*callsMax/4 + 2500 // 2500 have not settled
	for i := range all {
		tell(i, event.KubeStarted, forwarded(i))
	}
	if n := len(e.kube.byKey); n > most || n < callsMax/2 {
		t.Errorf("%d requests are remembered", n)
	}
	if n := len(e.kube.byPod); n > most {
		t.Errorf("%d pods have requests", n)
	}
	if n := len(e.kube.byNonce); n > most {
		t.Errorf("%d nonces are remembered", n)
	}
	if n := len(e.agenda.queue); n > most {
		t.Errorf("%d are in the queue", n)
	}
	tell(0, event.KubeComplete, forwarded(all)) // forgotten long ago
	first := sessionID("call", "0")
	if !slices.ContainsFunc(e.Flush(), func(r session.Revision) bool { return r.Session.ID == first && r.Session.State == session.StateEnded }) {
		t.Error("a stream's end is not told because its beginning was forgotten")
	}
}

func forwarded(i int) time.Time { return noon.Add(time.Duration(i) * time.Millisecond) }
