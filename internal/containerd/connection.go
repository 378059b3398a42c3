package containerd

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/events/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/sallyport/sallyport/internal/core/event"
)

// maxMessage bounds one message from containerd, in bytes. A list of 10,000
// tasks is about 3 MB.
const maxMessage = 16 << 20

// connection is one connection from its dial to its end. up says that it
// worked at all, heard is when containerd was last heard on it, and err is
// never nil.
func (w *Witness) connection(ctx context.Context, emit func(event.Observation)) (up bool, heard time.Time, err error) {
	c := &conn{w: w, sink: emit, heard: time.Now()}
	err = c.run(ctx)
	return c.up, c.heard, fmt.Errorf("watch containerd %s: %w", w.opts.Address, err)
}

// conn is one connection. Its goroutines are the receiver of events, the
// lister of what runs, and the heart beat.
type conn struct {
	w    *Witness
	grpc *grpc.ClientConn
	pid  uint32 // containerd's

	mu    sync.Mutex // guards all below, and serialises sink
	sink  func(event.Observation)
	heard time.Time
	up    bool
}

func (c *conn) run(ctx context.Context) error {
	g, err := c.dial()
	if err != nil {
		return err
	}
	defer g.Close()
	c.grpc = g
	if err := c.ping(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	stream, err := eventsapi.NewEventsClient(g).Subscribe(ctx, &eventsapi.SubscribeRequest{
		Filters: []string{`topic~="^/tasks/"`},
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	// containerd does not confirm a subscription before the first event. A
	// call made and answered after it on the same connection does: requests
	// are read in order (a test holds this against the real thing).
	if err := c.ping(ctx); err != nil {
		return err
	}
	c.announce()
	group.Go(func() error { return c.receive(stream) })
	group.Go(func() error { return c.beat(ctx) })
	return group.Wait()
}

// dial makes a client; the first call connects. Keepalive is left off:
// containerd's server refuses pings more often than every five minutes
// (grpc's default enforcement), so beat asks for the version instead.
func (c *conn) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///containerd",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: callTimeout}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			nc, err := d.DialContext(ctx, "unix", c.w.opts.Address)
			if err == nil {
				c.setPID(peerPID(nc))
			}
			return nc, err
		}),
	)
}

func (c *conn) setPID(pid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
}

// ping makes a round trip, bounded by callTimeout.
func (c *conn) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := versionapi.NewVersionClient(c.grpc).Version(ctx, &emptypb.Empty{}); err != nil {
		return fmt.Errorf("ask version: %w", err)
	}
	c.hear(time.Now())
	return nil
}

func (c *conn) hear(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = t
}

func (c *conn) emit(o event.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sink(o)
}

// announce says that from now on no event is missed.
func (c *conn) announce() {
	c.w.stats.connects.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = true
	c.sink(event.WitnessState{
		Header: header(c.heard), Up: true, From: c.heard.UTC(), DaemonPID: c.pid,
	})
}

// beat lists what runs, and then keeps asking containerd for a sign of life.
// What could not be listed is tried again at every beat.
func (c *conn) beat(ctx context.Context) error {
	l := lister{tasks: tasksapi.NewTasksClient(c.grpc), emit: c.task, seen: map[string]bool{}}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for listed := false; ; {
		if !listed {
			err := l.list(ctx, c.grpc, c.w.opts.Namespaces)
			if err != nil && ctx.Err() == nil {
				c.w.opts.Logger.Warn("running tasks are not all known yet", "address", c.w.opts.Address, "error", err)
			}
			listed = err == nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := c.ping(ctx); err != nil {
			return err
		}
	}
}

func (c *conn) task(t event.RuntimeTask) {
	c.w.stats.tasks.Add(1)
	c.emit(t)
}

// receive reports events until the stream ends.
func (c *conn) receive(stream eventsapi.Events_SubscribeClient) error {
	for {
		env, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive events: %w", err)
		}
		now := time.Now()
		c.hear(now)
		e, ok, err := decode(env, now)
		switch {
		case err != nil:
			c.w.stats.bad.Add(1)
			c.w.opts.Logger.Warn("containerd event not understood", "error", err)
			c.emit(event.Loss{Header: header(now), From: now.UTC(), Count: 1, What: "events"})
		case !ok:
			c.w.stats.ignored.Add(1)
		default:
			c.w.stats.events.Add(1)
			c.emit(e)
		}
	}
}
