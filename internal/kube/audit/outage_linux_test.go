package audit_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/core/event"
	"github.com/sallyport/sallyport/internal/kube/audit"
	"github.com/sallyport/sallyport/internal/kube/audit/audittest"
	"github.com/sallyport/sallyport/testbed"
	"github.com/sallyport/sallyport/testbed/kube"
)

// outage is how long receivers stay away. With more than a minute the API server
// keeps its own times: by hand, go test -run Outage -args -outage 10m.
var outage = flag.Duration("outage", 20*time.Second, "how long receivers of audit events stay away")

// outagePolicy has nothing audited but what the tests ask for, each once.
const outagePolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata, resources: [{group: "", resources: [pods/exec]}]}, {level: None}]`

// bench is an API server whose webhook goes to an address that is ours, and
// whose log is the truth.
type bench struct {
	*kube.Cluster
	t       *testing.T
	webhook audit.WebhookOptions // listens where the API server calls
	cut     func(away bool)      // takes the way there away, and gives it back
	client  *http.Client
	truth   *heard
}

func newBench(t *testing.T) *bench {
	testbed.Require(t, testbed.Kube)
	b := &bench{t: t, truth: &heard{}}
	called := testbed.FreeAddress(t)
	id, file := webhookAt(t, called)
	o := kube.Options{AuditPolicy: outagePolicy, AuditWebhook: file, AuditBatchWait: time.Second, Expose: []string{called}}
	if *outage <= time.Minute { // gives up after some 10 s in place of 100
		o.AuditBatchWait = 200 * time.Millisecond
		o.APIServer = []string{"--audit-webhook-initial-backoff=1s"}
	}
	b.Cluster = kube.New(t, o)
	var err error
	if b.webhook, err = id.Options(testbed.FreeAddress(t)); err != nil {
		t.Fatal(err)
	}
	b.cut = relay(t, called, b.webhook.Address)
	if b.client, err = b.HTTPClient(b.Admin); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.CloseIdleConnections)
	run(t, audit.New(audit.Options{Log: &audit.LogOptions{Path: b.Audit, FromStart: true}}), b.truth.emit)
	return b
}

// relay joins whoever calls at with the server at to, until it is told to be
// away.
func relay(t *testing.T, at, to string) (cut func(away bool)) {
	r := &joint{to: to, conns: map[net.Conn]bool{}}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.join(in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.cut(true)
		running.Wait()
	})
	return r.cut
}

type joint struct {
	to string

	mu    sync.Mutex
	away  bool              // guarded by mu
	conns map[net.Conn]bool // guarded by mu
}

func (j *joint) cut(away bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.away = away
	for c := range j.conns {
		if away {
			_ = c.Close()
		}
	}
}

// keep notes a connection, or closes it.
func (j *joint) keep(c net.Conn) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.away {
		_ = c.Close()
		return false
	}
	j.conns[c] = true
	return true
}

func (j *joint) join(in net.Conn) {
	defer in.Close()
	if !j.keep(in) {
		return
	}
	out, err := net.Dial("tcp", j.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !j.keep(out) {
		return
	}
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
}

// ask asks for commands in pods that do not exist, some a second, until the
// returned function is called. Each is an audit event.
func (b *bench) ask(perSecond int) (stop func() (asked int)) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan int)
	go func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C: // the last one is not given up: the server might never have heard of it
				b.get(b.t.Context(), fmt.Sprintf("/api/v1/namespaces/default/pods/none/exec?stdout=1&command=echo&command=w%d", n))
			case <-ctx.Done():
				done <- n
				return
			}
		}
	}()
	return func() int {
		cancel()
		return <-done
	}
}

func (b *bench) get(ctx context.Context, path string) (body io.ReadCloser, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Server+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := b.client.Do(q)
	if err != nil {
		return nil, err
	}
	if strings.Contains(path, "/exec?") {
		_, _ = io.Copy(io.Discard, r.Body)
		return nil, r.Body.Close()
	}
	return r.Body, nil
}

// drops has the API server's own counts looked at each second.
func (b *bench) drops(kept audit.Keeper) *audit.DropsOptions {
	return &audit.DropsOptions{Every: time.Second, Keeper: kept, Metrics: func(ctx context.Context) (io.ReadCloser, error) { return b.get(ctx, "/metrics") }}
}

// receiver runs a witness of the webhook until the returned function is called.
func (b *bench) receiver(o audit.Options, h *heard) (w *audit.Witness, stop func()) {
	webhook := b.webhook
	o.Webhook = &webhook
	w = audit.New(o)
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx, h.emit)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	b.t.Cleanup(stop)
	return w, stop
}

// words returns the execs that were heard, by what they say, with their time.
func (h *heard) words() map[string]time.Time {
	out := map[string]time.Time{}
	for _, q := range h.requests() {
		if q.Op == event.KubeExec && q.Namespace == "default" && len(q.Argv) == 2 {
			out[q.Argv[1]] = q.Received
		}
	}
	return out
}

func (h *heard) states() (out []event.WitnessState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.at {
		if s, ok := o.(event.WitnessState); ok {
			out = append(out, s)
		}
	}
	return out
}

// dropped sums up what was stated as dropped.
func (h *heard) dropped() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.at {
		if l, ok := o.(event.Loss); ok && l.What == "dropped" {
			n += int(l.Count)
		}
	}
	return n
}

// waitFor waits for a condition, three minutes at most.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// lost lists when the requests were made that are in the truth and were not
// heard, in order.
func (b *bench) lost(h *heard) []time.Time {
	got := h.words()
	var out []time.Time
	for w, at := range b.truth.words() {
		if _, ok := got[w]; !ok {
			out = append(out, at)
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// TestReceiverOutage: nobody listens at the webhook's address for a while. What
// the API server kept comes; what it gave up lies before the time from which on
// the new receiver says that it misses nothing, and is counted to the event.
func TestReceiverOutage(t *testing.T) {
	t.Parallel()
	b, h, kept := newBench(t), &heard{}, &audittest.Memory{}
	stopAsking := b.ask(20)
	_, stop := b.receiver(audit.Options{Drops: b.drops(kept)}, h)
	waitFor(t, "the first events", func() bool { return len(h.words()) > 20 })
	stop()
	away := time.Now()
	<-time.After(*outage)
	back := time.Now()
	w, _ := b.receiver(audit.Options{Drops: b.drops(kept)}, h)
	waitFor(t, "events after the outage", func() bool {
		for _, at := range h.words() {
			if at.After(back.Add(3 * time.Second)) {
				return true
			}
		}
		return false
	})
	asked := stopAsking()
	waitFor(t, "every event is heard or counted as dropped", func() bool {
		return len(b.truth.words()) >= asked && len(h.words())+h.dropped() >= len(b.truth.words())
	})
	lost := b.lost(h)
	t.Logf("away for %v: %d events, %d heard, %d lost, %d counted as dropped; the last that is lost is of %v before the return",
		back.Sub(away).Round(time.Second), len(b.truth.words()), len(h.words()), len(lost), h.dropped(), back.Sub(lastOf(lost, away)).Round(100*time.Millisecond))
	if len(lost) == 0 {
		t.Fatal("nothing was lost: the outage was too short to tell anything")
	}
	if h.dropped() != len(lost) {
		t.Errorf("%d lost, %d counted as dropped: something is lost that the API server kept", len(lost), h.dropped())
	}
	states := h.states()
	up := states[slices.IndexFunc(states, func(s event.WitnessState) bool { return s.Up && s.From.After(away) })]
	if last := lost[len(lost)-1]; last.After(up.From) || lost[0].Before(away.Add(-2*time.Second)) {
		t.Errorf("lost from %v to %v; away at %v, nothing is said to be missed from %v on", lost[0], last, away, up.From)
	}
	if w.Stats().Dropped != uint64(len(lost)) {
		t.Errorf("stats %+v", w.Stats())
	}
}

func lastOf(list []time.Time, or time.Time) time.Time {
	if len(list) == 0 {
		return or
	}
	return list[len(list)-1]
}

// TestWayCut: the receiver runs, and the API server cannot reach it for a while.
// The canary notices, and everything lost lies in the gap that is stated.
func TestWayCut(t *testing.T) {
	t.Parallel()
	b, h := newBench(t), &heard{}
	within := 14 * time.Second // more than it takes the API server to give up
	if *outage > time.Minute {
		within = 2 * time.Minute
	}
	canary := &audit.CanaryOptions{Key: []byte("0123456789abcdef"), Every: time.Second, Within: within, Probe: func(ctx context.Context, token string) error {
		_, err := b.get(ctx, audit.CanaryURI(token))
		return err
	}}
	w, _ := b.receiver(audit.Options{Canary: canary, Drops: b.drops(nil)}, h)
	stopAsking := b.ask(20)
	waitFor(t, "the first events", func() bool { return len(h.words()) > 20 && w.Stats().Canaries > 1 })
	b.cut(true)
	cut := time.Now()
	<-time.After(*outage)
	b.cut(false)
	healed := time.Now()
	waitFor(t, "the canary comes back", func() bool {
		s := h.states()
		return s[len(s)-1].Up && s[len(s)-1].From.After(cut)
	})
	asked := stopAsking()
	last := time.Now()
	waitFor(t, "the log has it all", func() bool { return len(b.truth.words()) >= asked })
	waitFor(t, "the API server has sent all or given it up", func() bool { return time.Since(last) > within })
	waitFor(t, "that is counted", func() bool { return len(b.lost(h)) <= h.dropped() })
	lost, states := b.lost(h), h.states()
	for _, s := range states {
		t.Logf("%v up=%v from=%v %s", s.Time.Sub(cut).Round(time.Millisecond), s.Up, s.From.Sub(cut).Round(time.Millisecond), s.Reason)
	}
	if len(lost) == 0 {
		t.Fatal("nothing was lost: the outage was too short to tell anything")
	}
	i := slices.IndexFunc(states, func(s event.WitnessState) bool { return !s.Up && s.Time.After(cut.Add(-3*time.Second)) })
	if i < 0 || i+1 >= len(states) {
		t.Fatal("no gap is stated")
	}
	gap, end := states[i], states[i+1]
	t.Logf("cut for %v: %d events, %d lost from %v to %v after the cut; stated %v to %v; %d dropped with canaries, %d gaps", healed.Sub(cut).Round(time.Second), asked, len(lost),
		lost[0].Sub(cut).Round(time.Millisecond), lost[len(lost)-1].Sub(cut).Round(time.Millisecond), gap.Time.Sub(cut).Round(time.Millisecond), end.From.Sub(cut).Round(time.Millisecond), h.dropped(), w.Stats().Gaps)
	if lost[0].Before(gap.Time) || lost[len(lost)-1].After(end.From) || w.Stats().Gaps != 1 {
		t.Errorf("lost from %v to %v, stated %+v to %+v", lost[0], lost[len(lost)-1], gap, end)
	}
}
